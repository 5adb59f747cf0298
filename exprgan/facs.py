"""The FACS action units (Ekman, Friesen and Hager 2002) that the model reads, each on both sides of the face."""

ACTION_UNITS: dict[int, str] = {
    1: "inner brow raiser",
    2: "outer brow raiser",
    4: "brow lowerer",
    5: "upper lid raiser",
    6: "cheek raiser",
    7: "lid tightener",
    9: "nose wrinkler",
    10: "upper lip raiser",
    12: "lip corner puller",
    14: "dimpler",
    15: "lip corner depressor",
    16: "lower lip depressor",
    17: "chin raiser",
    18: "lip pucker",
    20: "lip stretcher",
    22: "lip funneler",
    23: "lip tightener",
    24: "lip pressor",
    25: "lips part",
    26: "jaw drop",
    28: "lip suck",
    29: "jaw thrust",
    30: "jaw sideways",
    34: "cheek puff",
    43: "eye closure",
}
"""Number and name of each unit, in the order of the model's outputs. Weight 0 is rest, weight 1 the strongest movement that
most faces show; the strongest expressions of the training set reach 2."""
SIDES = ("right", "left")
"""The subject's own sides, in the order of the model's outputs."""

UPPER_FACE = (1, 2, 4, 5, 6, 7, 43)
"""The units that move brows, lids and cheeks; all others move nose, mouth and jaw."""

"""The configuration of `python -m train render`; it needs no heavy package."""

from dataclasses import dataclass

from ..core.config_flags import check_finite, option


@dataclass(frozen=True)
class RenderConfig:
    """Which pictures are rendered of each person, and how.

    Raises:
        ValueError: a value is out of range; the message names it.
    """

    photos: str = option("", "folder of the photos, with manifest.csv")
    manifest: str = option("", "the manifest, where it lies elsewhere")
    mesh: str = option("", "the FaceKit mesh in one file")
    out: str = option("runs/faces", "folder to write; people found there stay, and it grows")
    number: int = option(4, "pictures of each expression and person, over the range of intensities")
    number_virtual: int = option(2, "the same, of a person who was mixed from others")
    varied: int = option(2, "further pictures of each expression, and as many neutral ones, with head pose, gaze and light "
                            "drawn at random")  # fmt: skip
    varied_virtual: int = option(1, "the same, of a person who was mixed from others")
    combinations: int = option(6, "pictures of each person with a random combination of action units; they have no class")
    combinations_virtual: int = option(2, "the same, of a person who was mixed from others")
    mouths: bool = option(
        True, "each person has teeth of their own, and the tongue moves; without, all have the same teeth"
    )
    weakest: float = option(0.2, "intensities are drawn from here to 1; what is weaker hardly differs from neutral")
    neutral: int = option(2, "neutral pictures of each person with tiny movements; none of a mixed person")
    smiles: bool = option(True, "follow the smiling photos, and morph to them")
    image_size: int = option(128, "side of the pictures in px")
    frame: float = option(1.0, "side of the pictures in sides of the set's frame; 1.1852 is what T takes")
    jitter: bool = option(True, "turn, scale and shift each crop a little; without, a person's pictures share one frame")
    flow: bool = option(False, "write FILE.npz beside each rendered picture: its flow from the photo, a mask of pixels "
                               "without a source, its depth, its eyeballs; head, light and gaze stay")  # fmt: skip
    split_from: str = option("", "metadata.csv of a published set: whoever is in it stays in train or test")
    test_share: float = option(0.1, "share of the other people in `test`, by a hash of the name")
    quality: int = option(92, "of the JPEG files, 1..100")
    seed: int = option(7, "of all that is drawn: strengths, sides, styles, frames")
    workers: int = option(0, "processes; 0 for one a core")

    def __post_init__(self):
        for name, flag in (("photos", "--photos DIR"), ("mesh", "--mesh FACEKIT")):
            if not getattr(self, name):
                raise ValueError(f"name the {name}: {flag}")
        if not 0 <= self.weakest < 0.4:
            raise ValueError(f"weakest must lie from 0 to below 0.4, not {self.weakest!r}")
        if not 0.5 <= self.frame <= 1.25:
            raise ValueError(f"frame must lie in 0.5..1.25, not {self.frame!r}: a patch holds no more of the photo")
        if not 1 <= self.quality <= 100:
            raise ValueError(f"quality must lie in 1..100, not {self.quality}")
        if not 0 <= self.test_share < 1:
            raise ValueError(f"test_share must lie in 0..1 and below 1, not {self.test_share!r}")
        check_finite(self, number=0, number_virtual=0, varied=0, varied_virtual=0, combinations=0, combinations_virtual=0,
                     neutral=0, workers=0, image_size=16)  # fmt: skip

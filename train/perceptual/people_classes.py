"""People as classes, for the networks that learn to tell them apart. Who has one picture only is no class: where people are
unknown, every picture counts as a person of its own, and telling those apart would teach the opposite of an identity."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

COSINE_SCALE = 16.0
"""Factor of the cosines in the softmax over people; 16 separates a few hundred people without label smoothing."""
NO_CLASS = -100
"""Class of the pictures that are left out."""


class PeopleClasses:
    """The classes of a training set's pictures.

    Args:
        subject: (N,) long, the person of each picture.

    Attributes:
        classes: (N,) long, 0..count - 1 in the order of the people, NO_CLASS for the only picture of a person.
        count: number of people with several pictures.
    """

    def __init__(self, subject: Tensor):
        has_several = subject.bincount() > 1
        self.count = int(has_several.sum())
        self.classes = torch.where(has_several, has_several.cumsum(0) - 1, NO_CLASS)[subject]

    @property
    def note(self) -> str:
        """What is not learned, in a sentence; empty if everyone has several pictures."""
        alone = int((self.classes == NO_CLASS).sum())
        if not self.count:
            return ("note: nobody has two pictures in split 'train', as where people are unknown: the network learns "
                    "expressions without people, and its embedding is no measure of identity")  # fmt: skip
        others = f"the {self.count:,} people of the other {len(self.classes) - alone:,} are learned"
        return (
            f"note: {alone:,} pictures are the only ones of their person and teach no identity; {others}" if alone else ""
        )

    def new_head(self, identity: nn.Linear) -> nn.Linear | None:
        """A vector for each person, to take cosines with; None if there are no people, and then the layer is frozen.

        Without people it gets no gradient, for which several processes would wait.

        Args:
            identity: the layer whose outputs, as unit vectors, are the embeddings.
        """
        identity.requires_grad_(self.count > 0)
        return nn.Linear(identity.out_features, self.count, bias=False) if self.count else None

    def loss(self, cosines: Tensor | None, indices: Tensor) -> Tensor | float:
        """The cross entropy of (B, count) cosines and the people in the pictures at (B,) indices, which are on the CPU."""
        classes = self.classes[indices]
        if cosines is None:
            return 0.0
        if not (classes != NO_CLASS).any():
            return cosines.sum() * 0
        classes = classes.to(cosines.device, non_blocking=True)
        return F.cross_entropy(COSINE_SCALE * cosines, classes, ignore_index=NO_CLASS)


def cosines_with(head: nn.Linear | None, embedding: Tensor) -> Tensor | None:
    """Cosines (B, count) of (B, width) unit vectors with the vectors of a head, in float32."""
    if head is None:
        return None
    with torch.autocast(embedding.device.type, enabled=False):
        return embedding.float() @ F.normalize(head.weight.float(), dim=1).T

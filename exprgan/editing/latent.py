"""z of a face, which G_enc computes when it is first needed: most edits by T do without it."""

from collections.abc import Callable
from functools import cached_property

from torch import Tensor

from .value import is_same


class Latent:
    """z = g(x) of one face, shared by all copies of its `Subject`. Threads that ask at once may each compute it, equally.

    Equal to another if z is, bit for bit. All have the same hash, so that hashing a subject does not compute z. A pickle
    holds z and no network.
    """

    def __init__(self, encode: Callable[[], Tensor]):
        self._encode = encode

    @cached_property
    def z(self) -> Tensor:
        """(z_dim,) float32 on the CPU."""
        return self._encode()

    def __eq__(self, other: object) -> bool:
        return self is other or (isinstance(other, Latent) and is_same(self.z, other.z))

    def __hash__(self) -> int:
        return hash(Latent)

    def __reduce__(self):
        return Latent, (Known(self.z),)


class Known:
    """A function that returns a tensor computed before; unlike a lambda it can be pickled."""

    def __init__(self, tensor: Tensor):
        self.tensor = tensor

    def __call__(self) -> Tensor:
        """Returns the tensor."""
        return self.tensor

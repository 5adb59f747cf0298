"""Value: dataclasses of arrays, tensors and pictures that are compared and hashed by content."""

import dataclasses
import hashlib
from collections.abc import Mapping
from functools import cached_property
from typing import Any, ClassVar

import numpy as np
import torch
from PIL import Image
from torch import Tensor


class Value:
    """Base of frozen dataclasses, declared with `eq=False`, that are equal if all fields with `compare` are.

    Arrays, tensors (on any device) and pictures are equal if type, shape and every byte are. They are reduced to a SHA-256
    once, so only the first comparison reads them.
    """

    __dataclass_fields__: ClassVar[dict[str, Any]]

    def __eq__(self, other: object) -> bool:
        return self is other or (type(self) is type(other) and self._content == other._content)

    def __hash__(self) -> int:
        return hash(self._content)

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if name != "_content"}

    @cached_property
    def _content(self) -> tuple:
        return tuple(_hashable(getattr(self, field.name)) for field in dataclasses.fields(self) if field.compare)


def is_same(a: Any, b: Any) -> bool:
    """Whether two values of fields count as equal in a `Value`."""
    return _hashable(a) == _hashable(b)


def _hashable(value: Any) -> Any:
    """A stand-in for a field that is equal, and has an equal hash, exactly if the content is the same."""
    if isinstance(value, Tensor):
        value = (value.float() if value.dtype is torch.bfloat16 else value).numpy(force=True)
    if isinstance(value, np.ndarray):
        return value.dtype.str, value.shape, hashlib.sha256(value.tobytes()).digest()
    if isinstance(value, Image.Image):
        profile = value.info.get("icc_profile")
        return value.mode, value.size, profile, hashlib.sha256(value.tobytes()).digest()
    if isinstance(value, Mapping):
        return frozenset((key, _hashable(item)) for key, item in value.items())
    return tuple(map(_hashable, value)) if isinstance(value, (tuple, list)) else value

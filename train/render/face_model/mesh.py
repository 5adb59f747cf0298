"""The face model: ICT-FaceKit light (Li et al. 2020, MIT) in one file, as `prepare mesh` writes it.

A face is `neutral + identity weights . identity + expression weights . expressions`. The mesh's unit is about a
centimetre; x goes to the subject's left (the picture's right), y up, z to the viewer.
"""

from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from pathlib import Path

import numpy as np
from scipy.sparse import csr_matrix
from scipy.sparse.csgraph import dijkstra

from ...data.metadata import DataError
from .rasterizer import normals

REGIONS = ("face", "head", "mouth", "eyesocket", "gums", "teeth", "eyeball")
"""Runs of vertices, in the file's order. What comes after them (lashes, tears) is not used."""

ARRAYS = ("neutral", "identity", "expr", "expr_names", "faces", "lm68", "parts")

IDENTITY_MODES = 60
"""The first modes carry the large differences between people; 189 points say nothing of the others."""

CHAINS = {
    "upper_lid_R": (36, 37, 38, 39),
    "lower_lid_R": (36, 41, 40, 39),
    "upper_lid_L": (42, 43, 44, 45),
    "lower_lid_L": (42, 47, 46, 45),
    "upper_lip_outer": (48, 49, 50, 51, 52, 53, 54),
    "lower_lip_outer": (48, 59, 58, 57, 56, 55, 54),
    "upper_lip_inner": (48, 60, 61, 62, 63, 64, 54),
    "lower_lip_inner": (48, 60, 67, 66, 65, 64, 54),
}
"""Lines on the face, each through some of the 68 landmarks of Multi-PIE. R and L are the subject's right and left."""


@dataclass(frozen=True, eq=False)
class Mesh:
    """The face model.

    Attributes:
        neutral: (V, 3) float64, the mean face.
        identity: (M, V, 3) float64, how people differ; a weight of 1 is one standard deviation.
        expressions: name -> (V, 3) float32, as FaceKit (and ARKit) names them, at full strength.
        triangles: (T, 3) int32.
        landmarks: (68,) int64, vertices of the Multi-PIE landmarks.
        regions: name -> the vertices of a region, as a slice.
    """

    neutral: np.ndarray
    identity: np.ndarray
    expressions: dict[str, np.ndarray]
    triangles: np.ndarray
    landmarks: np.ndarray
    regions: dict[str, slice]

    @classmethod
    def load(cls, path: str | Path) -> "Mesh":
        """Reads the file.

        Raises:
            DataError: there is no such file, it is no mesh file, or a part of it is missing or does not fit the rest.
        """
        try:
            with np.load(path, allow_pickle=False) as file:
                found = {name: file[name] for name in ARRAYS if name in file.files}
        except FileNotFoundError as error:
            raise DataError(f"there is no mesh {path}; {_REMEDY}") from error
        except Exception as error:  # zipfile, zlib and numpy raise many kinds
            raise DataError(f"{path} cannot be read as a mesh ({error}); {_REMEDY}") from error
        if missing := [name for name in ARRAYS if name not in found]:
            raise DataError(f"the mesh {path} lacks {', '.join(missing)}; {_REMEDY}")
        return cls._of(found, path)

    @classmethod
    def _of(cls, found: dict[str, np.ndarray], path: str | Path) -> "Mesh":
        parts, total = found["parts"].astype(int), len(found["neutral"])
        sizes = {found["identity"].shape[1], found["expr"].shape[1], total}
        if len(parts) != len(REGIONS) + 1 or len(sizes) != 1 or parts[-1] > total or np.any(np.diff(parts) < 0):
            raise DataError(f"the mesh {path} has parts that do not fit one another; {_REMEDY}")
        used, faces = parts[-1], found["faces"].astype(np.int32)
        if faces.min() < 0 or faces.max() >= total or found["lm68"].shape != (68,) or found["lm68"].max() >= parts[1]:
            raise DataError(f"the mesh {path} names vertices that it does not have; {_REMEDY}")
        names = [str(name) for name in found["expr_names"]]
        return cls(
            neutral=found["neutral"][:used].astype(np.float64),
            identity=found["identity"][:IDENTITY_MODES, :used].astype(np.float64),
            expressions={name: shape[:used].astype(np.float32) for name, shape in zip(names, found["expr"], strict=True)},
            triangles=faces[np.all(faces < used, axis=1)],
            landmarks=found["lm68"].astype(np.int64),
            regions={name: slice(*parts[n : n + 2].tolist()) for n, name in enumerate(REGIONS)},
        )

    @property
    def face_size(self) -> int:
        """How many vertices the face has; they come first."""
        return self.regions["face"].stop

    @cached_property
    def skin(self) -> np.ndarray:
        """Triangles of the face. Ears, neck and hair are not rendered: they follow the face softly."""
        return self.within("face")

    @cached_property
    def skull(self) -> np.ndarray:
        """Triangles of the face and of the head behind it."""
        return self.within("face", "head")

    def within(self, *names: str) -> np.ndarray:
        """The triangles that lie wholly in some regions."""
        inside = np.zeros(len(self.neutral), bool)
        for name in names:
            inside[self.regions[name]] = True
        return np.ascontiguousarray(self.triangles[inside[self.triangles].all(1)])

    @cached_property
    def paths(self) -> dict[str, np.ndarray]:
        """`CHAINS` as vertices: the shortest way along the mesh's edges from each landmark to the next."""
        edges = np.vstack([self.skin[:, pair] for pair in ((0, 1), (1, 2), (2, 0))])
        lengths = np.linalg.norm(self.neutral[edges[:, 0]] - self.neutral[edges[:, 1]], axis=1)
        both_ways = np.r_[edges[:, 0], edges[:, 1]], np.r_[edges[:, 1], edges[:, 0]]
        graph = csr_matrix((np.r_[lengths, lengths], both_ways), shape=(self.face_size, self.face_size))
        return {name: _path(graph, self.landmarks[list(chain)]) for name, chain in CHAINS.items()}

    @cached_property
    def wings(self) -> tuple[int, int]:
        """The widest vertex of the nose on the subject's right and left."""
        x, y, z = self.neutral[: self.face_size].T
        outwards = normals(self.neutral[: self.face_size], self.skin)[:, 0]
        near = (np.abs(x) > 1.2) & (np.abs(x) < 2.4) & (np.abs(y) < 0.5) & (z > 6)
        right, left = (np.flatnonzero(near & (x * side > 0) & (outwards * side > 0.8)) for side in (-1, 1))
        if not len(right) or not len(left):
            raise DataError(f"the mesh has no nose where FaceKit's is; {_REMEDY}")
        return int(right[x[right].argmin()]), int(left[x[left].argmax()])

    def of(self, identity: np.ndarray) -> np.ndarray:
        """A person's neutral face, (V, 3) float64, from (M,) identity weights."""
        return self.neutral + np.tensordot(identity, self.identity, 1)


_REMEDY = "make one from ICT-FaceKit's FaceXModel folder by `python -m train prepare mesh`"


def _path(graph: csr_matrix, stops: np.ndarray) -> np.ndarray:
    """Vertices from the first stop to the last, through all of them."""
    path = [int(stops[0])]
    for start, end in pairwise(stops):
        _, before = dijkstra(graph, indices=start, return_predecessors=True)
        back = [int(end)]
        while back[-1] != start:
            if before[back[-1]] < 0:
                raise DataError(f"the mesh has no way between its landmarks {start} and {end}; {_REMEDY}")
            back.append(int(before[back[-1]]))
        path += back[-2::-1]
    return np.array(path)

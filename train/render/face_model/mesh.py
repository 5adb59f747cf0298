"""The face model: ICT-FaceKit light (Li et al. 2020, MIT) in one file, as written by `prepare mesh`.

A face is `neutral + identity weights . identity + expression weights . expressions`. The unit of the mesh is about a
centimetre; x points to the subject's left (the right of the image), y up, z to the viewer.
"""

from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from pathlib import Path

import numpy as np
from scipy.sparse import csr_matrix
from scipy.sparse.csgraph import dijkstra

from ...core.train_errors import DataError
from .rasterizer import compute_normals

REGIONS = ("face", "head", "mouth", "eyesocket", "gums", "teeth", "eyeball")
"""Consecutive ranges of vertices, in the file's order. The vertices after them (lashes, tears) are not used."""

ARRAYS = ("neutral", "identity", "expr", "expr_names", "faces", "lm68", "parts")
NUM_IDENTITY_MODES = 60  # they carry the large differences between people; 189 points do not determine the others

LANDMARK_CHAINS = {
    "upper_lid_R": (36, 37, 38, 39),
    "lower_lid_R": (36, 41, 40, 39),
    "upper_lid_L": (42, 43, 44, 45),
    "lower_lid_L": (42, 47, 46, 45),
    "upper_lip_outer": (48, 49, 50, 51, 52, 53, 54),
    "lower_lip_outer": (48, 59, 58, 57, 56, 55, 54),
    "upper_lip_inner": (48, 60, 61, 62, 63, 64, 54),
    "lower_lip_inner": (48, 60, 67, 66, 65, 64, 54),
}
"""Lines on the face through some of the 68 Multi-PIE landmarks. R and L are the subject's right and left."""

_REMEDY = "make one from ICT-FaceKit's FaceXModel folder by `python -m train prepare mesh`"


@dataclass(frozen=True, eq=False)
class Mesh:
    """The face model."""

    neutral: np.ndarray  # (V, 3) float64, the mean face
    identity: np.ndarray  # (M, V, 3) float64, modes of variation between people; weight 1 is one standard deviation
    expressions: dict[str, np.ndarray]  # name in FaceKit (and ARKit) -> (V, 3) float32, displacement at full strength
    triangles: np.ndarray  # (T, 3) int32
    landmarks: np.ndarray  # (68,) int64, vertices of the Multi-PIE landmarks
    regions: dict[str, slice]  # name -> range of vertices

    @classmethod
    def load(cls, path: str | Path) -> "Mesh":
        """Reads the file.

        Raises:
            DataError: there is no such file, it is not a mesh file, or its arrays are missing or inconsistent.
        """
        try:
            with np.load(path, allow_pickle=False) as file:
                arrays = {name: file[name] for name in ARRAYS if name in file.files}
        except FileNotFoundError as error:
            raise DataError(f"there is no mesh {path}; {_REMEDY}") from error
        except Exception as error:  # zipfile, zlib and numpy raise many kinds
            raise DataError(f"{path} cannot be read as a mesh ({error}); {_REMEDY}") from error
        if missing := [name for name in ARRAYS if name not in arrays]:
            raise DataError(f"the mesh {path} lacks {', '.join(missing)}; {_REMEDY}")
        neutral, identity, shapes, names, triangles, landmarks, bounds = (arrays[name] for name in ARRAYS)
        total, bounds, triangles = len(neutral), bounds.astype(int), triangles.astype(np.int32)
        sizes = {identity.shape[1], shapes.shape[1], total}
        if len(bounds) != len(REGIONS) + 1 or len(sizes) != 1 or bounds[-1] > total or np.any(np.diff(bounds) < 0):
            raise DataError(f"the mesh {path} has parts that do not fit one another; {_REMEDY}")
        if triangles.min() < 0 or triangles.max() >= total or landmarks.shape != (68,) or landmarks.max() >= bounds[1]:
            raise DataError(f"the mesh {path} names vertices that it does not have; {_REMEDY}")
        used = bounds[-1]
        return cls(
            neutral=neutral[:used].astype(np.float64),
            identity=identity[:NUM_IDENTITY_MODES, :used].astype(np.float64),
            expressions={str(n): shape[:used].astype(np.float32) for n, shape in zip(names, shapes, strict=True)},
            triangles=triangles[np.all(triangles < used, axis=1)],
            landmarks=landmarks.astype(np.int64),
            regions={name: slice(*span) for name, span in zip(REGIONS, pairwise(bounds.tolist()), strict=True)},
        )

    @property
    def num_face_vertices(self) -> int:
        """The number of vertices of the face, which come first."""
        return self.regions["face"].stop

    @cached_property
    def face_triangles(self) -> np.ndarray:
        """Triangles of the face. Ears, neck and hair are not rendered: they follow the face softly."""
        return self.select_triangles("face")

    def select_triangles(self, *regions: str) -> np.ndarray:
        """Selects the triangles whose corners all lie in the given regions."""
        inside = np.zeros(len(self.neutral), bool)
        for region in regions:
            inside[self.regions[region]] = True
        return np.ascontiguousarray(self.triangles[inside[self.triangles].all(1)])

    @cached_property
    def feature_lines(self) -> dict[str, np.ndarray]:
        """`LANDMARK_CHAINS` as vertices: the shortest path along the edges from each landmark to the next."""
        edges = np.vstack([self.face_triangles[:, pair] for pair in ((0, 1), (1, 2), (2, 0))])
        lengths = np.linalg.norm(self.neutral[edges[:, 0]] - self.neutral[edges[:, 1]], axis=1)
        ends = np.r_[edges[:, 0], edges[:, 1]], np.r_[edges[:, 1], edges[:, 0]]
        graph = csr_matrix((np.r_[lengths, lengths], ends), shape=(self.num_face_vertices, self.num_face_vertices))
        return {name: _find_path(graph, self.landmarks[list(chain)]) for name, chain in LANDMARK_CHAINS.items()}

    @cached_property
    def nose_wings(self) -> tuple[int, int]:
        """The widest vertex of the nose on the subject's right and left."""
        face = self.neutral[: self.num_face_vertices]
        x, y, z = face.T
        normal_x = compute_normals(face, self.face_triangles)[:, 0]
        nose = (np.abs(x) > 1.2) & (np.abs(x) < 2.4) & (np.abs(y) < 0.5) & (z > 6)
        right, left = (np.flatnonzero(nose & (x * side > 0) & (normal_x * side > 0.8)) for side in (-1, 1))
        if not len(right) or not len(left):
            raise DataError(f"the mesh has no nose where FaceKit's is; {_REMEDY}")
        return int(right[x[right].argmin()]), int(left[x[left].argmax()])

    def apply_identity(self, weights: np.ndarray) -> np.ndarray:
        """Computes a person's neutral face, (V, 3) float64, from (M,) identity weights."""
        return self.neutral + np.tensordot(weights, self.identity, 1)


def _find_path(graph: csr_matrix, stops: np.ndarray) -> np.ndarray:
    """Finds the shortest path from the first stop to the last through all of them, as vertices."""
    path = [int(stops[0])]
    for start, end in pairwise(stops):
        _, predecessors = dijkstra(graph, indices=start, return_predecessors=True)
        backwards = [int(end)]
        while backwards[-1] != start:
            if predecessors[backwards[-1]] < 0:
                raise DataError(f"the mesh has no path between its landmarks {start} and {end}; {_REMEDY}")
            backwards.append(int(predecessors[backwards[-1]]))
        path += backwards[-2::-1]
    return np.array(path)

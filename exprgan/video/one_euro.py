"""The One Euro filter (Casiez, Roussel and Vogel, CHI 2012): smooths what rests, and does not lag behind what moves."""

import math

import numpy as np

SPEED_CUTOFF_HZ = 1.0
"""Cutoff of the low-pass filter on the speed, the paper's default."""


class OneEuroFilter:
    """A low-pass filter of a vector over time whose cutoff frequency grows with the vector's speed.

    Args:
        min_cutoff: cutoff in Hz of a vector that rests.
        beta: increase of the cutoff, in Hz for each unit of length per second.
    """

    def __init__(self, min_cutoff: float, beta: float):
        self.min_cutoff, self.beta = min_cutoff, beta
        self.value: np.ndarray | None = None
        """The last filtered vector; None before the first and after `reset`."""
        self.speed: np.ndarray | None = None
        self.time = 0.0

    def reset(self) -> None:
        """Forgets the past: the next vector is taken as it is."""
        self.value = self.speed = None

    def __call__(self, vector: np.ndarray, time: float) -> np.ndarray:
        """Filters the vector measured at a time in seconds, which must increase."""
        step = time - self.time
        self.time = time
        if self.value is None or self.speed is None or step <= 0:
            self.value, self.speed = np.array(vector, np.float64), np.zeros(np.shape(vector))
            return self.value
        self.speed = self.speed + smoothing(SPEED_CUTOFF_HZ, step) * ((vector - self.value) / step - self.speed)
        cutoff = self.min_cutoff + self.beta * float(np.linalg.norm(self.speed))
        self.value = self.value + smoothing(cutoff, step) * (vector - self.value)
        return self.value


def smoothing(cutoff: float, step: float) -> float:
    """Weight of a new value in an exponential average with a cutoff in Hz, after a step in seconds."""
    return 1 / (1 + 1 / (2 * math.pi * cutoff * step))

"""Fréchet distance between two sets of feature vectors: how far apart they are as normal distributions."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .measures import Z95, Interval

RESAMPLES = 40


@dataclass(frozen=True)
class Gaussian:
    """Mean (D,), and a root (rows, D) of the covariance: covariance = root.T @ root, with rows <= D."""

    mean: np.ndarray
    root: np.ndarray

    @classmethod
    def of(cls, vectors: np.ndarray) -> Gaussian:
        """The mean and the unbiased covariance of vectors (N, D).

        Raises:
            ValueError: there are fewer than two vectors, or they are not (N, D).
        """
        if vectors.ndim != 2 or len(vectors) < 2:
            raise ValueError(f"a covariance needs at least two vectors (N, D), got the shape {vectors.shape}")
        vectors = vectors.astype(np.float64)
        mean = vectors.mean(axis=0)
        root = (vectors - mean) / np.sqrt(len(vectors) - 1)
        return cls(mean, np.linalg.qr(root, mode="r") if len(root) > root.shape[1] else root)

    def distance(self, other: Gaussian) -> float:
        """Squared Fréchet distance |m1 - m2|^2 + tr(C1 + C2 - 2 (C1 C2)^(1/2)).

        With C = R^T R the trace of the root is the sum of the singular values of R1 R2^T. That is exact for singular
        covariances too, so nothing has to be added to them when there are fewer vectors than dimensions.
        """
        if self.mean.shape != other.mean.shape:
            raise ValueError(f"features of {len(self.mean)} and {len(other.mean)} dimensions cannot be compared")
        shift = np.square(self.mean - other.mean).sum()
        spread = np.square(self.root).sum() + np.square(other.root).sum()
        shared = np.linalg.svd(self.root @ other.root.T, compute_uv=False).sum()
        return float(max(0.0, shift + spread - 2 * shared))


@dataclass(frozen=True)
class Distance:
    """A Fréchet distance and its 95 % interval over the choice of clips."""

    value: float
    interval: Interval


def frechet_distance(
    features: np.ndarray, reference: Gaussian, *, resamples: int = RESAMPLES, seed: int = 0
) -> Distance:
    """Distance of features (clips, vectors a clip, D) or (clips, D) to a reference.

    The interval is the deviation over bootstrap resamples of whole clips, laid around the value itself: the mean of
    resamples is higher, because a resample has fewer distinct clips. For the same reason distances of sets of
    different sizes cannot be compared.
    """
    clips = features if features.ndim == 3 else features[:, None]
    value = Gaussian.of(clips.reshape(-1, clips.shape[-1])).distance(reference)
    rng = np.random.default_rng(seed)
    resampled = []
    for _ in range(resamples):
        chosen = clips[rng.integers(len(clips), size=len(clips))]
        resampled.append(Gaussian.of(chosen.reshape(-1, clips.shape[-1])).distance(reference))
    reach = Z95 * float(np.std(resampled, ddof=1)) if resamples > 1 else np.inf
    return Distance(value, (max(0.0, value - reach), value + reach))

"""The least spread that a component may have: what the rounding of the data leaves undetermined.

A component that sits on equal values has no spread, and its likelihood no bound. Numbers of a
dtype are told apart down to the distance between neighbours, so a floor of an eighth of it bounds
the likelihood and touches no component whose rows determine it, however far other rows lie.
"""

from typing import Any

import numpy as np

__all__ = ["bounded_matrices", "floor_of", "floor_variances", "narrow_columns", "relative_floor"]

_PART = 1 / 8  # of the distance between neighbouring numbers
# Near 0 neighbours are infinitely close; there the smallest number of the data counts, by this factor.
_NEAR_ZERO = 2.0**-20


def floor_of(rows: np.ndarray, given: Any) -> np.ndarray:
    """Least standard deviations of columns, shape (2, d): absolute ones, and relative to a power of two of the mean.

    Parameters
    ----------
    rows : ndarray of shape (n, d)
        A sample of the rows.
    given : float, array-like of shape (d,), or None
        Least standard deviations that the user wants; or an earlier result, which is kept.
    """
    d = rows.shape[1]
    if given is not None:
        floor = np.asarray(given, dtype=np.float64)
        if floor.shape == (2, d):
            return floor
        if floor.shape not in ((), (d,)) or not (floor >= 0).all() or not np.isfinite(floor).all():
            raise ValueError(f"floor must be a standard deviation, or one of each of {d} columns, not {given!r}.")
        return np.stack([np.broadcast_to(floor, (d,)), np.zeros(d)])
    is_single = rows.dtype == np.float32
    eps = _PART * float(np.finfo(rows.dtype).eps)
    sizes = np.abs(rows, dtype=np.float64)
    smallest = np.min(np.where(sizes > 0, sizes, np.inf), axis=0, initial=np.inf)
    smallest = np.where(np.isfinite(smallest), smallest, 1.0)
    least = 1e-30 if is_single else 1e-140
    return np.stack([np.maximum(eps * _NEAR_ZERO * smallest, least), np.full(d, eps)])


def floor_variances(floor: np.ndarray, means: np.ndarray) -> np.ndarray:
    """Least variances of components with the given means, shape (K, d)."""
    _, exponents = np.frexp(np.abs(means))
    sizes = np.where(means == 0, 0.0, np.ldexp(0.5, exponents))
    return np.asarray(np.maximum(floor[0], floor[1] * sizes) ** 2)


def relative_floor(floor: np.ndarray) -> float:
    """Least eigenvalue of a correlation matrix: below it sums in the data's dtype, and factors, are rounding."""
    is_single = floor[1].max() > np.finfo(np.float64).eps
    return floor.shape[1] * (1e-6 if is_single else 1e-12)


def bounded_matrices(covariances: np.ndarray, least: np.ndarray, relative: float) -> np.ndarray:
    """Covariances (K, d, d) of the largest likelihood with eigenvalues of at least 1, in units of `least` variances.

    The same holds in units of `relative` times the variances, which sums of products still tell
    from 0. Matrices that fulfil it are returned as they are.
    """
    variances = np.diagonal(covariances, axis1=1, axis2=2)
    if not np.isfinite(covariances).all():
        return covariances  # the factorisation will say what is wrong
    sizes = np.maximum(variances, least)
    roots = np.sqrt(sizes)
    scaled = covariances / (roots[:, :, None] * roots[:, None, :])
    limits = np.maximum(least / sizes, relative)
    eye = np.eye(variances.shape[1])
    bounded = covariances
    for k in _below(scaled - limits[:, :, None] * eye):
        unit = np.sqrt(limits[k])
        values, vectors = np.linalg.eigh(scaled[k] / np.outer(unit, unit))
        clipped = (vectors * np.maximum(values, 1.0)) @ vectors.T
        if bounded is covariances:
            bounded = covariances.copy()
        bounded[k] = (clipped + clipped.T) / 2 * np.outer(unit * roots[k], unit * roots[k])
    return bounded


def narrow_columns(covariances: np.ndarray, least: np.ndarray, relative: float) -> np.ndarray:
    """The mask (K, d) of columns that take part in what `bounded_matrices` had to widen."""
    d = covariances.shape[1]
    variances = np.diagonal(covariances, axis1=1, axis2=2)
    roots = np.sqrt(variances)
    inverses = np.linalg.inv(covariances / (roots[:, :, None] * roots[:, None, :]))
    # the inverse's diagonal is v_j^2 / eigenvalue where a direction v is narrow
    given_others = 1 / np.diagonal(inverses, axis1=1, axis2=2)
    return (variances <= least * (1 + 1e-9)) | (given_others <= 4 * d * relative)


def _below(matrices: np.ndarray) -> list[int]:
    """Numbers of the matrices that are not positive definite."""
    try:
        np.linalg.cholesky(matrices)
        return []
    except np.linalg.LinAlgError:
        found = []
        for k, matrix in enumerate(matrices):
            try:
                np.linalg.cholesky(matrix)
            except np.linalg.LinAlgError:
                found.append(k)
        return found

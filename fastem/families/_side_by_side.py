"""Components side by side, for kernels whose vectors run over components."""

from typing import Any

import numpy as np
from numba import njit, types
from numba.extending import overload

from fastem.kernels.memory import aligned_zeros
from fastem.kernels.simd import BLOCK, elements, fill, load, load_block, store, transpose

__all__ = ["centred_block", "n_padded", "side_by_side", "turn_back", "turn_block"]


def n_padded(n_components: int) -> int:
    """Number of components in whole vectors of them."""
    return -(-n_components // BLOCK) * BLOCK


def side_by_side(values: np.ndarray, padding: Any, dtype: np.dtype[Any]) -> np.ndarray:
    """Parameters (K, ...) of components as (..., padded K); components that there are not have `padding`."""
    k = len(values)
    padded = aligned_zeros((*values.shape[1:], n_padded(k)), dtype)
    padded[...] = np.asarray(padding)[..., None]
    padded[..., :k] = np.moveaxis(values, 0, -1)
    return padded


@njit(error_model="numpy")
def turn_block(resp, first, turned):  # type: ignore[no-untyped-def]
    """Responsibilities (K, m) of a block of components from `first` on as (m, BLOCK), 0 for what is beyond K.

    They stand at the beginning of `turned`, which has twice as much room.
    """
    w = elements(resp)
    m = resp.shape[1]
    zero = fill(load(resp, 0), 0.0)
    for k in range(BLOCK):
        for b in range(0, m, w):
            r = load(resp, (first + k) * m + b) if first + k < resp.shape[0] else zero
            store(turned, (BLOCK + k) * m + b, r)
    for b in range(0, m, BLOCK):
        transpose(turned, BLOCK * m + b, m, turned, b * BLOCK, BLOCK)


@njit(error_model="numpy")
def turn_back(turned, first, out):  # type: ignore[no-untyped-def]
    """Numbers (m, BLOCK) of a block of components from `first` on into their rows of `out` (K, m)."""
    m = out.shape[1]
    for b in range(0, m, BLOCK):
        transpose(turned, b * BLOCK, BLOCK, turned, BLOCK * m + b, m)
    for k in range(min(BLOCK, out.shape[0] - first)):
        for b in range(0, m, elements(out)):
            store(out, (first + k) * m + b, load(turned, (BLOCK + k) * m + b))


def centred_block(x: np.ndarray, means: np.ndarray, low: np.ndarray, index: int) -> np.ndarray:
    """``x - means - low`` of a block of components; to float64 data the low parts, which are 0, add nothing."""
    return (x - load_block(means, index)) - load_block(low, index)


@overload(centred_block, jit_options={"error_model": "numpy"})
def _centred_block(x, means, low, index):  # type: ignore[no-untyped-def]
    if means.dtype == types.float32:
        return lambda x, means, low, index: (x - load_block(means, index)) - load_block(low, index)
    return lambda x, means, low, index: x - load_block(means, index)

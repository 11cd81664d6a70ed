"""Logarithms of a tile's positive values."""

from numba import njit

from fastem.kernels.simd import elements, fill, huge, load, splat, store, where_greater
from fastem.kernels.tiles import n_points
from fastem.kernels.vector_math import log

__all__ = ["take_logarithms"]


@njit(error_model="numpy")
def take_logarithms(tile, inverse_units, logs):  # type: ignore[no-untyped-def]
    """Logarithms of values in their columns' units, at the beginning of `logs`; missing cells stay missing.

    Near 1, of values near their unit, they have all digits that the values have.
    """
    m = n_points(tile)
    for j in range(tile.shape[0]):
        inverse = splat(inverse_units, j)
        for b in range(j * m, (j + 1) * m, elements(tile)):
            cell = load(tile, b)
            store(logs, b, where_greater(cell, fill(cell, 0.0) - huge(cell), log(cell * inverse), cell))

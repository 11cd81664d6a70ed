"""What users give beside rows: exposures of counts, numbers of trials, offsets of regressions."""

from typing import Any

import numpy as np

from fastem.family import Family
from fastem.sources import OffsetSource, PairedSource, Source, side_values

__all__ = ["offset_of", "side_family", "with_side"]

_NAMES = ("exposure", "trials", "offset")


def with_side(source: Source, side: dict[str, Any], family: Family[Any, Any], is_fitted: bool) -> Source:
    """Rows together with what is given beside them.

    Where a fitted family knows exposures or offsets and none are given, they are 1 or 0.

    Raises
    ------
    TypeError, ValueError
        If there is no such thing, or the family does not take it.
    """
    unknown = set(side) - set(_NAMES)
    if unknown:
        raise TypeError(f"Unexpected keyword arguments {sorted(unknown)}: what is known beside rows is {_NAMES}.")
    given = {name: value for name, value in side.items() if value is not None}
    if len(given) > 1:
        raise ValueError(f"Only one of {', '.join(given)} can be given.")
    name, value = next(iter(given.items()), (None, None))
    if family.has_response:
        return _with_offset(source, name, value, family, is_fitted)
    if name is None and not (is_fitted and family.beside):
        return source
    name = name or family.beside
    if is_fitted and name != family.beside:
        raise ValueError(f"The fit knew of no {name}.")
    if not is_fitted and name not in family.takes_beside:
        raise ValueError(f"{family!r} takes no {name}.")
    if value is None:
        if name == "trials":
            raise ValueError("Give trials=, as in the fit.")
        value = np.ones(source.n_rows)
    shapes = [(source.n_rows,), (source.n_rows, source.n_features)]
    numbers = side_values(str(name), value, shapes, source.dtype)
    if name == "exposure":
        _require_positive(numbers)
    return PairedSource(source, numbers)


def offset_of(n_rows: int, side: dict[str, Any], family: Family[Any, Any], dtype: Any) -> np.ndarray | None:
    """The offset of each row for a fitted regression, 0 if none is given; None if the fit knew of none."""
    given = {name: value for name, value in side.items() if value is not None}
    name, value = next(iter(given.items()), (None, None))
    return _offset(n_rows, name, value, family, True, dtype)


def _with_offset(source: Source, name: str | None, value: Any, family: Family[Any, Any], is_fitted: bool) -> Source:
    """Rows with the offset of their linear predictor."""
    numbers = _offset(source.n_rows, name, value, family, is_fitted, source.dtype)
    return source if numbers is None else OffsetSource(source, numbers)


def _offset(
    n_rows: int, name: str | None, value: Any, family: Family[Any, Any], is_fitted: bool, dtype: Any
) -> np.ndarray | None:
    """Offsets, of which an exposure is the exponential."""
    if name is None and not (is_fitted and family.beside):
        return None
    if name == "trials" or (is_fitted and not family.beside) or "offset" not in family.takes_beside:
        raise ValueError(f"{family!r} takes no {name}." if not is_fitted else f"The fit knew of no {name}.")
    if name == "exposure" and "exposure" not in family.takes_beside:
        raise ValueError(f"{family!r} takes no exposure, but an offset.")
    values = np.zeros(n_rows) if value is None else value
    numbers = side_values(name or "offset", values, [(n_rows,)], dtype)
    if name == "exposure":
        _require_positive(numbers)
        numbers = np.log(numbers)
    return numbers


def _require_positive(exposure: np.ndarray) -> None:
    wrong = ~(exposure > 0)
    if wrong.any():
        row = np.argwhere(wrong)[0][0]
        raise ValueError(f"exposure must be positive, but is {exposure[wrong][0]:g} in row {row}.")


def side_family(family: Family[Any, Any], source: Source) -> Family[Any, Any]:
    """The family of rows with what stands beside them."""
    if isinstance(source, OffsetSource):
        return family.with_offset()
    if isinstance(source, PairedSource):
        return family.of_trials() if "trials" in family.takes_beside else family.exposed()
    return family

"""What users give beside rows: exposures of counts, numbers of trials, offsets of regressions, bounds of values."""

from typing import Any

import numpy as np

from fastem.families.family import Family
from fastem.families.positive.censored import LEFT, RIGHT
from fastem.sources import CensoredSource, OffsetSource, PairedSource, Source, side_values

__all__ = ["family_beside", "offset_of", "side_family", "with_side"]

_NAMES = ("exposure", "trials", "offset", "censored", "upper")
# What families call it.
_KINDS = {"upper": "censored"}


def with_side(source: Source, side: dict[str, Any], family: Family[Any, Any], is_fitted: bool) -> Source:
    """Rows together with what is given beside them.

    Where a fitted family knows exposures or offsets and none are given, they are 1 or 0; and all values are known where
    it knows censored ones.

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
    kind = _KINDS.get(str(name), name)
    if is_fitted and kind != family.beside:
        raise ValueError(f"The fit knew of no {name}.")
    if not is_fitted and kind not in family.takes_beside:
        raise ValueError(f"{family!r} takes no {name}.")
    if kind == "censored":
        return CensoredSource(source, _bounds(str(name), value, source))
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
    if (
        name not in ("offset", "exposure", None)
        or (is_fitted and not family.beside)
        or "offset" not in family.takes_beside
    ):
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


def _bounds(name: str, value: Any, source: Source) -> np.ndarray:
    """What bounds each value, as families of censored values know it; NaN where it is known."""
    if value is None:
        return np.full(source.n_rows, np.nan, source.dtype)
    shapes = [(source.n_rows,), (source.n_rows, source.n_features)]
    numbers = side_values(name, value, shapes, source.dtype, is_finite=name != "upper")
    wrong = numbers < 0 if name == "upper" else ~np.isin(numbers, (-1, 0, 1))
    if wrong.any():
        wanted = "not be negative" if name == "upper" else "be 1 (right), -1 (left), 0 or booleans"
        row = np.argwhere(wrong)[0][0]
        raise ValueError(f"{name} must {wanted}, but is {numbers[wrong][0]:g} in row {row}.")
    if name == "upper":
        return np.where(np.isinf(numbers), RIGHT, numbers).astype(source.dtype)
    return np.select([numbers == 1, numbers == -1], [RIGHT, LEFT], np.nan).astype(source.dtype)


def side_family(family: Family[Any, Any], source: Source) -> Family[Any, Any]:
    """The family of rows with what stands beside them."""
    if isinstance(source, OffsetSource):
        return family.with_offset()
    if isinstance(source, CensoredSource):
        return family.censored()
    if isinstance(source, PairedSource):
        return family.of_trials() if "trials" in family.takes_beside else family.exposed()
    return family


def family_beside(family: Family[Any, Any], beside: str | None) -> Family[Any, Any]:
    """The family of rows of which it is known what stands beside them; raises ValueError."""
    if beside is not None and beside not in family.takes_beside:
        raise ValueError(f"{family!r} takes no {beside}.")
    hooks = {
        "exposure": family.exposed,
        "trials": family.of_trials,
        "offset": family.with_offset,
        "censored": family.censored,
    }
    return family if beside is None else hooks[beside]()

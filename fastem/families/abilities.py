"""What only some families can do beside being fitted, each ability with the answer of families that lack it."""

from abc import ABCMeta, abstractmethod
from typing import Any, ClassVar, Generic, NamedTuple, Self, TypeVar

import numpy as np
from sklearn.base import BaseEstimator

__all__ = ["Beside", "Facts", "Learning", "Levels", "Named", "Tables"]

Params = TypeVar("Params", bound=tuple[Any, ...])


class Facts(NamedTuple):
    """What a family may ask of the data before it is fitted.

    Attributes
    ----------
    rows : ndarray of shape (n, d)
        A sample of the rows.
    weights : ndarray of shape (n,), or None
        Their weights.
    lows, highs : ndarray of shape (d,), or None
        Least and largest value of each column, for families that are surveyed.
    names : list of str or None
        Names of the columns.
    """

    rows: np.ndarray
    weights: np.ndarray | None = None
    lows: np.ndarray | None = None
    highs: np.ndarray | None = None
    names: list[str] | None = None


class Beside:
    """What a fit may be given beside rows, by family.

    Attributes
    ----------
    takes_beside : tuple of str
        ``"exposure"``, ``"trials"``, ``"offset"``, ``"censored"``: what a fit may be given.
    beside : str or None
        What of it the rows hold.
    """

    takes_beside: ClassVar[tuple[str, ...]] = ()
    beside: str | None = None

    def exposed(self) -> Any:
        """The family for counts over exposures, which follow the counts in the rows; raises ValueError."""
        raise ValueError(f"{self!r} takes no exposure.")

    def of_trials(self) -> Any:
        """The family for counts of which each has its own number of trials; raises ValueError."""
        raise ValueError(f"{self!r} takes no trials in fit.")

    def with_offset(self) -> Any:
        """The family for rows with an offset before the response; raises ValueError."""
        raise ValueError(f"{self!r} takes no offset.")

    def censored(self) -> Any:
        """The family for values of which some are censored, which what bounds them follows; raises ValueError."""
        raise ValueError(f"{self!r} takes no censored values.")


class Levels:
    """Columns whose values are levels, such as names of colours."""

    def level_columns(self, n_columns: int, names: list[str] | None) -> dict[int, bool]:
        """The columns whose values are levels, coded from 0 on before the family meets them.

        Each with whether levels that a fit did not meet are missing cells, instead of an error.
        """
        return {}

    def settled(self, params: Any, resp: np.ndarray, rows: np.ndarray, filled: np.ndarray) -> np.ndarray:
        """Rows whose missing cells were filled by means over components, of responsibilities (n, K), where a mean
        is no value.
        """
        return filled


class Learning:
    """What a family learns of the data before a fit, and of rows that come later: copies that know more."""

    def place(self, n_columns: int, names: list[str] | None) -> Self:
        """Place: the family itself, or a copy of it that knows which columns are whose; raises ValueError."""
        return self

    def anchored(self, rows: np.ndarray) -> Self:
        """Anchor: the family itself, or a copy of it whose `base` counts from the middle of a sample of rows.

        Nothing is known of the rows yet: they may hold values that the family does not take.
        """
        return self

    def bind(self, facts: Facts) -> Self:
        """Bind: the family itself, or a copy of it with what it needs to know of the data; raises ValueError."""
        return self

    def stretched(self, lows: np.ndarray, highs: np.ndarray) -> Self:
        """Stretch: the family itself, or one that knows of more rows, with such least and largest values.

        Statistics stay what they are; where a column has no value, its limits are infinite.
        """
        return self


class Tables:
    """Tables in place of functions of whole numbers, with a row for each number up to some size."""

    def reach(self, rows: np.ndarray) -> np.ndarray:
        """The table sizes that some rows need, of which the largest ones count for all rows; none without tables."""
        return np.empty(0)

    def widened(self, reach: np.ndarray) -> Self:
        """Make room: the family itself, or one with tables of such sizes."""
        return self

    def endless(self, given: Any) -> Self:
        """Make room for all that can come: as `widened`, where `given`, the family of the settings, sets no end."""
        return self


class Named(BaseEstimator, Generic[Params], metaclass=ABCMeta):  # type: ignore[misc]  # scikit-learn is untyped
    """Parameters as users and files know them: by names, with shapes, checked."""

    parameters: ClassVar[type]

    @abstractmethod
    def alike(self, rows: np.ndarray, n_components: int) -> Params:
        """Parameters that are alike in all components, to make a first M-step about, from some rows."""

    def check_bound(self, n_features: int) -> None:
        """Raise ValueError unless all settings, also those learnt from the data, are sound for so many columns.

        They come from a file then, and kernels, indices and sizes of arrays will trust them. By default
        none may be NaN.
        """
        for name, value in self.get_params(deep=False).items():
            if _has_nan(value):
                raise ValueError(f"{name} is not a number.")

    def parameter_shapes(self, n_components: int, n_features: int) -> tuple[tuple[int, ...], ...]:
        """Shape of each parameter; families whose parameters can be large tell it without making any."""
        return tuple(np.shape(value) for value in self.alike(np.zeros((2, n_features)), n_components))

    def check_params(self, params: Params, n_components: int, n_features: int) -> None:
        """Raise ValueError unless `params` are sound; they come from users and from files."""
        shapes = self.parameter_shapes(n_components, n_features)
        for (name, value), wanted in zip(params._asdict().items(), shapes, strict=True):  # type: ignore[attr-defined]
            if np.shape(value) != wanted:
                raise ValueError(
                    f"The parameter {name!r} should have the shape of {wanted}, but got {np.shape(value)}."
                )
            if not np.isfinite(value).all():
                raise ValueError(f"The parameter {name!r} is not finite.")

    def n_frozen(self, frozen: frozenset[str], n_components: int, n_features: int) -> int:
        """Free parameters among those with given names."""
        like = self.alike(np.zeros((2, n_features)), n_components)
        return sum(int(np.size(getattr(like, name))) for name in frozen if hasattr(like, name))

    def freezable(self) -> dict[str, str]:
        """What can be frozen, and the parameter to start from that gives its value."""
        return {name: name for name in self.attribute_names()}

    def is_given_by(self, names: set[str]) -> bool:
        """Whether the parameters with these names are all that there are."""
        return set(self.parameters._fields) <= names  # type: ignore[attr-defined]  # a NamedTuple

    def with_values(self, params: Params | None, values: dict[str, Any]) -> Params:
        """`params` with other values of some; of all, if `params` is None."""
        if params is None:
            return self.from_attributes(values)
        values = {name: np.array(value, dtype=np.float64) for name, value in values.items()}
        return params._replace(**values)  # type: ignore[attr-defined]  # a NamedTuple

    def attributes(self, params: Params) -> dict[str, Any]:
        """The parameters as attributes of a fitted mixture, by name without the underscore."""
        return params._asdict()  # type: ignore[attr-defined]  # a NamedTuple

    def from_attributes(self, values: dict[str, Any]) -> Params:
        """What `attributes` took apart."""
        fields = self.parameters._fields  # type: ignore[attr-defined]  # a NamedTuple
        return self.parameters(*(np.array(values[name], dtype=np.float64) for name in fields))

    def attribute_names(self) -> tuple[str, ...]:
        """The names that `attributes` gives."""
        return self.parameters._fields  # type: ignore[attr-defined]  # a NamedTuple


def _has_nan(value: Any) -> bool:
    if isinstance(value, dict):
        return any(map(_has_nan, value.values()))
    if isinstance(value, list | tuple):
        return any(map(_has_nan, value))
    return isinstance(value, float | np.ndarray) and np.asarray(value).dtype.kind == "f" and bool(np.isnan(value).any())

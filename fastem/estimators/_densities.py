"""Densities that a user gives as functions, distributions or models: their values, draws, names and files."""

import copy
import inspect
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import numpy as np
from scipy import stats
from sklearn.utils.validation import check_is_fitted

from fastem.sources import RowwiseSource, Source
from fastem.storage.checkpoints import describe
from fastem.storage.registry import ESTIMATORS, add_settings

__all__ = ["DensitySource", "draws", "identity", "restored", "stored"]

# Smaller log-densities are as good as none.
_LEAST = -1e30
_NORMAL = type(stats.multivariate_normal([0.0]))


class DensitySource(RowwiseSource):
    """Log-densities of the rows of another source under each component."""

    def __init__(self, source: Source, components: Sequence[Any], first_row: int = 0):
        super().__init__(source)
        self.components, self.first_row = components, first_row
        self.n_features, self.names = len(components), None
        self.dtype = np.dtype(np.float64)

    def _own_facts(self) -> dict[str, Any]:
        return {"components": [identity(component) for component in self.components]}

    def _wrapper(self, rows: Any) -> Callable[[Source], Source]:
        first_row = self.first_row + (rows.start if isinstance(rows, slice) else 0)
        return partial(DensitySource, components=self.components, first_row=first_row)

    @contextmanager
    def reading(self) -> Iterator[Any]:
        with self.source.reading() as fill_rows:

            def fill(first: int, out: np.ndarray) -> None:
                rows = np.empty((len(out), self.source.n_features), self.source.dtype)
                fill_rows(first, rows)
                for k, component in enumerate(self.components):
                    out[:, k] = np.maximum(_log_density(component, rows, k), _LEAST)
                nowhere = (out <= _LEAST).all(axis=1)
                if nowhere.any():
                    row = self.first_row + first + int(np.argmax(nowhere))
                    raise ValueError(f"Row {row} of X has density 0 under all components: add one that covers it.")

            yield fill


def _log_density(component: Any, rows: np.ndarray, k: int) -> np.ndarray:
    names = ("logpdf", "logpmf", "score_samples")
    function = next((getattr(component, name) for name in names if hasattr(component, name)), component)
    given = function(rows)
    values = np.where(np.ma.getmaskarray(given), np.nan, np.ma.getdata(given)).astype(np.float64)
    if values.shape == (len(rows), 1):
        values = values[:, 0]
    if values.shape != (len(rows),):
        raise ValueError(f"Component {k} must give log-densities of shape (n,), but gave {values.shape}.")
    if not (values < np.inf).all():
        wrong = int(np.argmin(values < np.inf))
        raise ValueError(
            f"Component {k} must give log-densities that are finite or -inf, but gave {values[wrong]} for the row "
            f"{rows[wrong]}."
        )
    return values


def draws(component: Any, k: int, n: int, rng: np.random.RandomState) -> np.ndarray:
    """`n` draws from component k, shape (n, d)."""
    if hasattr(component, "rvs"):
        found = component.rvs(size=n, random_state=rng)
    elif not hasattr(component, "sample"):
        raise TypeError(f"Component {k} has no method to draw from it: neither rvs nor sample.")
    elif "random_state" in (known := inspect.signature(component.sample).parameters):
        found = component.sample(n, random_state=rng)
    elif "rng" in known:
        found = component.sample(n, rng=np.random.default_rng(rng.randint(2**31)))
    else:
        model = copy.copy(component)
        model.random_state = rng
        found = model.sample(n)
    return np.reshape(found[0] if isinstance(found, tuple) else found, (n, -1))


# --- files ------------------------------------------------------------------------------------


class FrozenDistribution:
    """A distribution of scipy.stats with its parameters, as files hold it.

    Parameters
    ----------
    name : str
        Name in `scipy.stats`.
    args : tuple
    kwds : dict
    """

    def __init__(self, name: str, args: tuple[Any, ...], kwds: dict[str, Any]):
        self.name, self.args, self.kwds = name, args, kwds

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """The arguments, by which a file tells the distribution."""
        return {"name": self.name, "args": tuple(map(_as_numbers, self.args)), "kwds": self._kwds()}

    def _kwds(self) -> dict[str, Any]:
        return {name: _as_numbers(value) for name, value in self.kwds.items()}

    def thaw(self) -> Any:
        """The distribution; raises ValueError if there is none of this name or with such parameters."""
        kind = getattr(stats, self.name, None) if isinstance(self.name, str) else None
        if kind is stats.multivariate_normal:
            return kind(*self.args, **self.kwds)
        if not isinstance(kind, stats.rv_continuous | stats.rv_discrete):
            raise ValueError(f"scipy.stats has no distribution {self.name!r}.")
        distribution = kind(*self.args, **self.kwds)
        if np.isnan(distribution.support()).any():
            raise ValueError(f"{self.name} has no parameters {self.args}, {self.kwds}.")
        return distribution


add_settings({"FrozenDistribution": FrozenDistribution})


def _as_numbers(value: Any) -> Any:
    return value if isinstance(value, bool | int | float) else np.asarray(value, dtype=np.float64)


def stored(component: Any, k: int) -> Any:
    """What a file holds of component k.

    Raises
    ------
    TypeError
        If it is neither a fitted model of this library nor a distribution of scipy.stats.
    """
    if isinstance(component, _NORMAL):
        kwds = {"mean": component.mean, "cov": component.cov, "allow_singular": bool(component.allow_singular)}
        return FrozenDistribution("multivariate_normal", (), kwds)
    kind = getattr(component, "dist", None)
    if isinstance(kind, stats.rv_continuous | stats.rv_discrete) and hasattr(stats, kind.name):
        return FrozenDistribution(kind.name, component.args, component.kwds)
    if type(component) in ESTIMATORS.values():
        check_is_fitted(component)
        return component._as_stored() if hasattr(component, "_as_stored") else component
    raise TypeError(
        f"Component {k} is {component!r}, which no file of fastem holds: models of this library and distributions of "
        "scipy.stats with their parameters can be saved. Keep weights_, or use pickle."
    )


def restored(component: Any) -> Any:
    """The component that a file held."""
    if isinstance(component, FrozenDistribution):
        return component.thaw()
    if type(component) not in ESTIMATORS.values():
        raise ValueError(f"{component!r} is no component.")
    return component


def identity(component: Any) -> Any:
    """What tells a component from another one, in terms of JSON, in another process too."""
    try:
        kept = stored(component, 0)
    except TypeError:
        return describe(component)
    of_fit = {name: value for name, value in vars(kept).items() if name.endswith("_")}
    return describe(kept) | {"fitted": describe(of_fit)} if of_fit else describe(kept)

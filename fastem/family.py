"""What a family is: the distribution of one observation in each of K components.

A family holds all components as arrays with a leading K axis. Its data-sized work is two
compiled verbs of `fastem.dispatch`, registered for the type of its kernel parameters; the rest
touches per-component sums only and is plain NumPy.
"""

from abc import ABC, abstractmethod
from typing import Any, ClassVar, Generic, NamedTuple, TypeVar

import numpy as np

__all__ = ["DegenerateError", "Family", "Maximized", "Prepared"]

Params = TypeVar("Params", bound=tuple[Any, ...])
Stats = TypeVar("Stats", bound=tuple[Any, ...])


class DegenerateError(ValueError):
    """The data do not determine a component's parameters."""


class Prepared(NamedTuple):
    """Parameters as kernels read them; `offset` is to be added to each log-density."""

    params: Any
    offset: float


class Maximized(NamedTuple):
    """Result of an M-step; `slack` bounds what a floor on the parameters cost the log-likelihood."""

    params: Any
    slack: float = 0.0


class Family(ABC, Generic[Params, Stats]):
    """A distribution with K sets of parameters; see ``fastem.families.gaussian_diag`` for one.

    Shapes: K components, d features. Parameters and statistics are NamedTuples of arrays.
    """

    kernel_parameters: ClassVar[type]

    @abstractmethod
    def zeros(self, lanes: int, n_components: int, n_features: int) -> Stats:
        """Statistics of no data, with a leading axis of lanes."""

    @abstractmethod
    def statistics_bytes(self, n_components: int, n_features: int) -> int:
        """Memory of one lane's statistics."""

    @abstractmethod
    def parameter_bytes(self, n_components: int, n_features: int) -> int:
        """Memory of one set of parameters."""

    @abstractmethod
    def scratch(self, n_features: int, tile_rows: int) -> int:
        """Numbers of scratch space that the kernels need for a tile."""

    @abstractmethod
    def about(self, location: np.ndarray, n_components: int) -> Params:
        """Parameters of which only the reference point of the moments matters, for a first M-step."""

    @abstractmethod
    def prepare(self, params: Params, about: Params, log_weights: np.ndarray, dtype: np.dtype[Any]) -> Prepared:
        """Kernel parameters: densities by `params` times weights, moments about `about`."""

    @abstractmethod
    def recentre(self, stats: Stats, counts: np.ndarray, about: Params, dtype: np.dtype[Any]) -> Params | None:
        """A better reference point for the moments, where so far away from `about` they lost accuracy."""

    @abstractmethod
    def maximize(self, stats: Stats, counts: np.ndarray, about: Params, dead: np.ndarray) -> Maximized:
        """M-step from sums over the data; `counts` are the sums of responsibilities, shape (K,).

        Components in the mask `dead` have no weight and keep the parameters of `about`.
        """

    @abstractmethod
    def expected(self, params: Params, counts: np.ndarray) -> Stats:
        """Statistics, about `params`, of data that follow `params`; `counts` is the weight of each component."""

    def move(self, stats: Stats, counts: np.ndarray, about: Params, to: Params) -> Stats:
        """Statistics about `to` from those about `about`: the same ones, if they have no reference point."""
        return stats

    @abstractmethod
    def split(self, params: Params, into: int, source: int, rng: np.random.RandomState) -> Params:
        """`params` with component `into` replaced by a displaced copy of component `source`."""

    @abstractmethod
    def coincide(self, params: Params) -> bool:
        """Whether several components are all alike: EM does not tell such a saddle from an optimum."""

    @abstractmethod
    def n_parameters(self, n_components: int, n_features: int) -> int:
        """Free parameters of all components together."""

    @abstractmethod
    def sample(self, params: Params, k: int, n: int, rng: np.random.RandomState) -> np.ndarray:
        """`n` draws from component k, shape (n, d)."""

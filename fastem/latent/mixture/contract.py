"""Parameters and sums of a mixture, and what it asks of the family of its components."""

from typing import Any, NamedTuple, Protocol

import numpy as np

from fastem.engine.contract import Domain

__all__ = ["ComponentFamily", "MixtureParams", "Statistics"]


class MixtureParams(NamedTuple):
    """Parameters of a mixture: weights (K,) and the family's parameters."""

    weights: np.ndarray
    components: Any


class Statistics(NamedTuple):
    """Sums over the data: log-likelihood, weight of the rows, responsibilities (K,), what the family adds up."""

    log_likelihood: Any
    weight: Any
    counts: np.ndarray
    family: Any


class ComponentFamily(Domain, Protocol):
    """What a mixture asks of a family, which `fastem.families.family.Family` explains."""

    n_noise: int
    takes_steps: bool
    starts_blind: bool
    is_ordered: bool

    @property
    def has_prior(self) -> bool: ...

    # kernels
    def prepare(self, params: Any, about: Any, log_weights: np.ndarray, dtype: np.dtype[Any], missing: bool) -> Any: ...
    def scratch(self, n_components: int, n_features: int, tile_rows: int) -> int: ...
    def incomplete_scratch(self, n_components: int, n_features: int, tile_rows: int) -> int: ...

    # sums
    def zeros(self, lanes: int, n_components: int, n_features: int) -> Any: ...
    def kernel_statistics(self, stats: Any) -> Any: ...
    def statistics_bytes(self, n_components: int, n_features: int) -> int: ...
    def expected(self, params: Any, counts: np.ndarray) -> Any: ...
    def move(self, stats: Any, counts: np.ndarray, about: Any, to: Any) -> Any: ...

    # parameters
    def parameter_bytes(self, n_components: int, n_features: int) -> int: ...
    def alike(self, rows: np.ndarray, n_components: int) -> Any: ...
    def log_prior(self, params: Any) -> float: ...
    def excludes(self, params: Any) -> bool: ...
    def split(self, params: Any, into: int, source: int, rng: np.random.RandomState) -> Any: ...
    def hold(self, params: Any, old: Any, frozen: frozenset[str]) -> Any: ...
    def recentre(
        self, stats: Any, counts: np.ndarray, about: Any, dtype: np.dtype[Any], frozen: frozenset[str]
    ) -> Any: ...
    def maximize(self, stats: Any, counts: np.ndarray, about: Any, dead: np.ndarray, frozen: frozenset[str]) -> Any: ...

    # starts
    def start_features(self, rows: np.ndarray) -> np.ndarray: ...

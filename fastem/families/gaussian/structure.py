"""What covariances have in common, between components and between columns: short objects that structures consist of.

A stack holds covariances as all structures do: one for each component, or one alone. Scatters of columns are those of
each, or their sum.
"""

from typing import Protocol

import numpy as np

__all__ = ["EachColumn", "Groups", "OneForAll", "OneForEach", "RoundColumns"]


class Groups(Protocol):
    """Which components have a covariance in common."""

    def count(self, n_components: int) -> int:
        """Number of covariances."""

    def leading(self, n_components: int) -> tuple[int, ...]:
        """The leading axes of an attribute."""

    def stack(self, values: np.ndarray) -> np.ndarray:
        """A leading axis of covariances, of values that have the shape of an attribute."""

    def shape(self, stack: np.ndarray) -> np.ndarray:
        """The shape of an attribute."""

    def pool(self, values: np.ndarray) -> np.ndarray:
        """Sums over the components (K, ...) that have a covariance in common."""

    def least(self, values: np.ndarray) -> np.ndarray:
        """The least value (K, ...) of them."""

    def take(self, values: np.ndarray, order: np.ndarray) -> np.ndarray:
        """Those of some components, of values that have the shape of an attribute."""


class OneForEach:
    """Each component has a covariance of its own."""

    def count(self, n_components: int) -> int:
        return n_components

    def leading(self, n_components: int) -> tuple[int, ...]:
        return (n_components,)

    def stack(self, values: np.ndarray) -> np.ndarray:
        return values

    def shape(self, stack: np.ndarray) -> np.ndarray:
        return stack

    def pool(self, values: np.ndarray) -> np.ndarray:
        return values

    def least(self, values: np.ndarray) -> np.ndarray:
        return values

    def take(self, values: np.ndarray, order: np.ndarray) -> np.ndarray:
        return values[order]


class OneForAll:
    """All components have the same covariance."""

    def count(self, n_components: int) -> int:
        return 1

    def leading(self, n_components: int) -> tuple[int, ...]:
        return ()

    def stack(self, values: np.ndarray) -> np.ndarray:
        return values[None]

    def shape(self, stack: np.ndarray) -> np.ndarray:
        return np.asarray(stack[0])

    def pool(self, values: np.ndarray) -> np.ndarray:
        return np.asarray(values.sum(axis=0, keepdims=True))

    def least(self, values: np.ndarray) -> np.ndarray:
        return np.asarray(values.min(axis=0, keepdims=True))

    def take(self, values: np.ndarray, order: np.ndarray) -> np.ndarray:
        return values


class EachColumn:
    """Each column has a variance of its own."""

    def width(self, n_features: int) -> int:
        """Variances of a component."""
        return n_features

    def trailing(self, n_features: int) -> tuple[int, ...]:
        """The last axes of an attribute."""
        return (n_features,)

    def stack(self, values: np.ndarray) -> np.ndarray:
        """Variances (K, width), of values that have the shape of an attribute."""
        return values

    def shape(self, stack: np.ndarray) -> np.ndarray:
        """The shape of an attribute."""
        return stack

    def gather(self, values: np.ndarray) -> np.ndarray:
        """Sums over the columns (K, d) that have a variance in common."""
        return values

    def least(self, values: np.ndarray) -> np.ndarray:
        """The least value (K, d) of them."""
        return values

    def mean(self, values: np.ndarray) -> np.ndarray:
        """The mean (..., d) of them."""
        return values

    def spread(self, stack: np.ndarray, n_features: int) -> np.ndarray:
        """A value for each column (K, d)."""
        return stack


class RoundColumns:
    """All columns have the same variance."""

    def width(self, n_features: int) -> int:
        return 1

    def trailing(self, n_features: int) -> tuple[int, ...]:
        return ()

    def stack(self, values: np.ndarray) -> np.ndarray:
        return values[:, None]

    def shape(self, stack: np.ndarray) -> np.ndarray:
        return stack[:, 0]

    def gather(self, values: np.ndarray) -> np.ndarray:
        return np.asarray(values.sum(axis=-1, keepdims=True))

    def least(self, values: np.ndarray) -> np.ndarray:
        return np.asarray(values.min(axis=-1, keepdims=True))

    def mean(self, values: np.ndarray) -> np.ndarray:
        return np.asarray(values.mean(axis=-1, keepdims=True))

    def spread(self, stack: np.ndarray, n_features: int) -> np.ndarray:
        return np.repeat(stack, n_features, axis=1)

"""Counts with a number beside each: an exposure, or how many trials there were.

Rows hold the counts, then the numbers beside them.
"""

from typing import Any

import numpy as np

from fastem.families._linear import LinearFamily, LinearStatistics
from fastem.families.family import Maximized

__all__ = ["Paired", "PairedFamily"]


class Paired:
    """What families of rows (n, 2 d) have in common."""

    def halves(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Counts or values (n, d), and the numbers beside them."""
        d = rows.shape[1] // 2
        return rows[:, :d], rows[:, d:]

    def n_counted(self, n_features: int) -> int:
        """Number of columns of counts, of d."""
        if n_features % 2:
            raise ValueError(f"{n_features} columns are no counts with a number beside each.")
        return n_features // 2

    def complete(self, params: Any, k: int, rows: np.ndarray, rng: np.random.RandomState | None) -> np.ndarray:
        raise NotImplementedError("What stands beside a missing count is not kept: such cells cannot be filled.")


class PairedFamily(Paired, LinearFamily):
    """Base of families with one parameter (K, d) of rows (n, 2 d), whose log-density is linear in both."""

    def maximize(
        self, stats: LinearStatistics, counts: np.ndarray, about: Any, dead: np.ndarray, frozen: frozenset[str]
    ) -> Maximized:
        sums, beside = self.halves(stats.first)
        seen = beside > 0
        new = self.estimate(np.where(seen, sums, 1.0), np.where(seen, beside, 1.0))
        kept = type(new)(*(np.where(seen, value, old) for value, old in zip(new, about, strict=True)))
        return Maximized(self.keep(kept, about, dead, frozen))

    def expected(self, params: Any, counts: np.ndarray) -> LinearStatistics:
        means = self.means(params)
        both = np.hstack([means, np.ones_like(means)])
        return LinearStatistics(counts[:, None] * both, np.zeros_like(both))

    def n_parameters(self, n_components: int, n_features: int) -> int:
        return n_components * (n_features // 2)

"""Negative binomial distributions of counts over exposures."""

import math
from typing import Any, Self

import numpy as np

from fastem.families._domain import check_counts, check_values
from fastem.families._paired import Paired
from fastem.families._settings import check_array
from fastem.families.counts.exposed_kernels import ExposedStatistics, ExposureTable, exposure_table
from fastem.families.counts.exposed_steps import ExposedSums, ascend
from fastem.families.counts.negative_binomial import SIZES, NegativeBinomial, NegativeBinomialParams, log_modes
from fastem.families.counts.tables import rising
from fastem.families.family import Family, Maximized, Prepared
from fastem.kernels.dispatch import IMPOSSIBLE

__all__ = ["ExposedNegativeBinomial"]

# Exposures that can be; and how much larger or smaller they may become in `partial_fit`.
_EXPOSURES = (1e-30, 1e30)
_ROOM = 1e6


class ExposedNegativeBinomial(Paired, NegativeBinomial):
    """Negative binomial distributions of counts over exposures e: of mean ``e mean``, with the same size.

    `NegativeBinomial` becomes it where ``fit(X, exposure=...)`` gives the exposures, which follow the
    counts in the rows. Means are those of an exposure of 1, as are samples; the variance of a count
    is ``e mean + (e mean)^2 / size``.

    Parameters
    ----------
    largest
        As of `NegativeBinomial`.
    exposures : tuple of float, optional
        Least and largest exposure that can come; default: those of the data, in `partial_fit` a
        million times less and more than those of the first rows.
    """

    beside = "exposure"

    def __init__(self, largest: int | None = None, exposures: Any = None):
        super().__init__(largest)
        self.exposures = exposures

    def exposed(self) -> Family[Any, Any]:
        return self

    # --- data ---------------------------------------------------------------------------------

    def check_settings(self) -> None:
        if self.exposures is None:
            return
        low, high = check_array("exposures", self.exposures, (2,))
        if not _EXPOSURES[0] <= low <= high <= _EXPOSURES[1]:
            raise ValueError(f"exposures must be a least and a largest one from {_EXPOSURES}, not {self.exposures!r}.")

    def check_bound(self, n_features: int) -> None:
        super().check_bound(self.n_counted(n_features))
        self.check_settings()

    def reach(self, rows: np.ndarray) -> np.ndarray:
        counts, exposures = (half.astype(np.float64) for half in self.halves(rows))
        lows = -np.fmin.reduce(exposures, axis=None, initial=np.inf)
        return np.append(super().reach(counts), [np.fmax.reduce(exposures, axis=None, initial=-np.inf), lows])

    def widened(self, reach: np.ndarray) -> Self:
        low, high = (np.inf, -np.inf) if self.exposures is None else self.exposures
        is_wide = reach[1] <= high and -reach[2] >= low
        if is_wide and reach[0] <= (self.largest or 0):
            return self
        exposures = (min(low, -float(reach[2])), max(high, float(reach[1])))
        return type(self)(int(max(reach[0], self.largest or 0)), exposures if exposures[0] <= exposures[1] else None)

    def endless(self, given: Any) -> Self:
        wider = super().endless(given)
        if self.exposures is None or getattr(given, "exposures", None) is not None:
            return type(self)(wider.largest, self.exposures)
        low, high = self.exposures
        return type(self)(wider.largest, (max(low / _ROOM, _EXPOSURES[0]), min(high * _ROOM, _EXPOSURES[1])))

    def check(self, rows: np.ndarray, first_row: int) -> None:
        counts, exposures = self.halves(rows)
        check_counts(counts, first_row)
        low, high = _EXPOSURES
        wrong = ~((exposures >= low) & (exposures <= high))
        check_values(exposures, first_row, wrong, f"exposures must be positive, from {low:g} to {high:g}")

    def start_features(self, rows: np.ndarray) -> np.ndarray:
        counts, exposures = self.halves(rows)
        return np.sqrt(counts / exposures)

    def _exposures(self) -> ExposureTable:
        return exposure_table(*map(float, (1.0, 1.0) if self.exposures is None else self.exposures))

    # --- statistics ---------------------------------------------------------------------------

    def zeros(self, lanes: int, n_components: int, n_features: int) -> Any:
        d = self.n_counted(n_features)
        counts = super().zeros(lanes, n_components, d)
        return ExposedStatistics(counts, self._exposures().zeros(lanes, n_components, d))

    def statistics_bytes(self, n_components: int, n_features: int) -> int:
        d = self.n_counted(n_features)
        return super().statistics_bytes(n_components, d) + 8 * math.prod(self._exposures().shape(n_components, d))

    def scratch(self, n_components: int, n_features: int, tile_rows: int) -> int:
        counts = super().scratch(n_components, self.n_counted(n_features), tile_rows)
        return max(counts, self._exposures().scratch(n_components, tile_rows))

    def log_table(self, params: NegativeBinomialParams) -> np.ndarray:
        """What does not depend on exposures: log-probabilities of counts where they are what is expected."""
        x = self._counts().values
        never = np.where(params.means[:, :, None] > 0, 0.0, IMPOSSIBLE)
        return log_modes(x, params.sizes[:, :, None]) + np.where(x > 0, never, 0.0)

    def prepare(
        self,
        params: NegativeBinomialParams,
        about: NegativeBinomialParams,
        log_weights: np.ndarray,
        dtype: np.dtype[Any],
        missing: bool,
    ) -> Prepared:
        counts = super().prepare(params, about, log_weights, dtype, missing)
        return counts._replace(params=self._exposures().kernel(counts.params, *params, dtype))

    def expected(self, params: NegativeBinomialParams, counts: np.ndarray) -> Any:
        """Of rows with an exposure in the middle of all."""
        k, d = params.means.shape
        table = self._exposures()
        exposure = float(np.sqrt(table.values.min() * table.values.max()))
        plain = NegativeBinomial(self.largest)
        found = plain.expected(params._replace(means=params.means * exposure), counts)
        histograms = self._table(d).histograms(found, k).T.reshape(k, d, -1)
        sums = np.stack([histograms.sum(axis=2), histograms @ self._counts().values], axis=2)
        exposures = table.zeros(1, k, d)[0]
        shared = sums[:, :, None] * table.shared(exposure)[:, None]
        np.moveaxis(exposures, -1, 1).reshape(-1, *exposures.shape[1:4])[:k] = shared
        return ExposedStatistics(found, exposures)

    # --- parameters ---------------------------------------------------------------------------

    def alike(self, rows: np.ndarray, n_components: int) -> NegativeBinomialParams:
        return super().alike(rows[:, : self.n_counted(rows.shape[1])], n_components)

    def maximize(
        self,
        stats: Any,
        counts: np.ndarray,
        about: NegativeBinomialParams,
        dead: np.ndarray,
        frozen: frozenset[str],
    ) -> Maximized:
        k, d = about.means.shape
        histograms = self._table(d).histograms(stats.counts, k).T.reshape(k * d, -1)
        cells, events = (part.reshape(k * d, -1) for part in self._exposures().sums(stats.exposures, k))
        used = np.flatnonzero(np.any(cells != 0, axis=0))
        exposures = self._exposures().values[used]
        sums = ExposedSums(rising(histograms, self._counts()), cells[:, used], events[:, used], exposures)
        means, sizes = (field.ravel().copy() for field in about)
        seen = cells.sum(axis=1) > 1e-12 * counts.sum()
        some = seen & (events.sum(axis=1) > 0)
        if "means" in frozen:
            some &= means > 0
        else:
            means[seen & ~some] = 0.0
        rows = np.flatnonzero(some)
        mine, begun = sums.take(rows), (means[rows], sizes[rows])
        means[rows], sizes[rows] = ascend(mine, *begun, _limits(mine, means[rows], frozen), frozen)
        new = NegativeBinomialParams(means.reshape(k, d), sizes.reshape(k, d))
        return Maximized(self.keep(new, about, dead, frozen))

    def n_parameters(self, n_components: int, n_features: int) -> int:
        return n_components * n_features


def _limits(sums: ExposedSums, means: np.ndarray, frozen: frozenset[str]) -> tuple[np.ndarray, np.ndarray]:
    """Least and largest sizes that the likelihood tells apart."""
    by_exposure = sums.cells @ sums.exposures
    begun = means if "means" in frozen else sums.events.sum(axis=1) / by_exposure
    # what a row counts, where larger exposures count more
    typical = begun * (sums.cells @ sums.exposures**2) / by_exposure
    return np.full(len(means), SIZES[0]), SIZES[1] * np.maximum(typical, 1.0)

"""Walks over the data: the sums of a mixture, and its results row by row."""

from collections.abc import Callable
from typing import Any

import numpy as np

from fastem.engine.contract import Block, Shape
from fastem.engine.statistics import add_lanes, are_finite, zeros
from fastem.kernels.dispatch import compile_pass
from fastem.kernels.kernel_arguments import flat
from fastem.kernels.launches import Launches
from fastem.kernels.memory import aligned_zeros
from fastem.kernels.threads import choose
from fastem.kernels.tiles import n_lanes, tile_rows
from fastem.latent.mixture.contract import ComponentFamily, Statistics
from fastem.latent.mixture.kernels import LabelStatistics, Output, Workspace, make_accumulate, make_infer

__all__ = ["AccumulatePass", "InferPass"]


class _Pass:
    """One walk over the data: its kernel, by the type of `prepared.params`, and its scratch."""

    make: Callable[[str], Callable[..., Any]]

    def __init__(self, family: ComponentFamily, n_components: int, prepared: Any, shape: Shape, missing: bool):
        k, d = n_components, shape.n_features
        self.prepared = prepared
        self.twins = compile_pass(type(self).make, self.prepared.params)
        self.n_threads = shape.n_threads
        n, m = shape.n_threads, tile_rows(shape.dtype)
        scratch = (family.incomplete_scratch if missing else family.scratch)(k, d, m)
        self.work = Workspace(
            aligned_zeros((n, d, m), shape.dtype),
            aligned_zeros((n, m), shape.dtype),
            aligned_zeros((n, k, m), shape.dtype),
            np.empty((n, k)),
            aligned_zeros((n, -(-scratch // m) * m), shape.dtype),
            np.zeros(1, np.int64),
        )


class AccumulatePass(_Pass):
    """Sums over all rows that are added."""

    make = staticmethod(make_accumulate)

    def __init__(self, family: ComponentFamily, n_components: int, prepared: Any, shape: Shape, missing: bool):
        super().__init__(family, n_components, prepared, shape, missing)
        k, d = n_components, shape.n_features
        n = n_lanes(family.statistics_bytes(k, d))
        self.family_stats = family.zeros(n, k, d)
        self.kernel_stats = family.kernel_statistics(self.family_stats)
        self.stats = zeros(LabelStatistics, n, log_likelihood=(), weight=(), counts=(k,))

    def add(self, block: Block, launches: Launches) -> None:
        """Add rows, of which the first has a number that is a multiple of a tile's.

        Responsibilities can be given, shape (rows, K), or only some components be allowed, uint8 of the same shape.
        """
        first_row, rows, weights, given, allowed, _ = block
        k = len(self.stats.counts[0])
        resp = _read_only(np.empty((0, k)) if given is None else given, rows.dtype)
        masks = _read_only(np.empty((0, k)) if allowed is None else allowed, np.dtype(np.uint8))
        m = tile_rows(rows.dtype)
        for first, end, lane, last in launches.by_lanes(-(-len(rows) // m), len(self.stats.weight), self.n_threads):
            some = slice(first * m, end * m)
            self.work.next[0] = lane
            span = np.array([first_row // m + first, last])
            sums = (self.kernel_stats, self.stats, self.work)
            values = flat((rows[some], resp[some], masks[some], weights[some], span, self.prepared.params, *sums))
            with choose(self.twins, self.n_threads) as run:
                run(self.n_threads, values)

    def is_finite(self) -> bool:
        """Whether all sums are: each cell of complete data goes into them, if its row has weight."""
        return are_finite(self.family_stats)

    def finish(self) -> Statistics:
        """The sums over all rows that were added."""
        labels = add_lanes(self.stats)
        log_likelihood = labels.log_likelihood + self.prepared.offset * labels.weight
        return Statistics(log_likelihood, labels.weight, labels.counts, add_lanes(self.family_stats))


class InferPass(_Pass):
    """Results of each row that is added."""

    make = staticmethod(make_infer)

    def add(self, rows: np.ndarray, out: Output, launches: Launches) -> None:
        """Write the results of rows to `out`, whose arrays have as many rows, or none."""
        none = _read_only(np.empty(0), rows.dtype)
        offset = np.array([self.prepared.offset])
        m = tile_rows(rows.dtype)
        for first, end in launches.by_rows(-(-len(rows) // m)):
            some = slice(first * m, end * m)
            part = Output(*(array[some] for array in out))
            self.work.next[0] = 0
            values = flat((rows[some], none, offset, self.prepared.params, part, self.work))
            with choose(self.twins, self.n_threads) as run:
                run(self.n_threads, values)


def _read_only(array: np.ndarray, dtype: np.dtype[Any]) -> np.ndarray:
    view = np.ascontiguousarray(array, dtype=dtype).view()
    view.flags.writeable = False
    return view

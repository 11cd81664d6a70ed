"""Passes over data on a cluster: each partition gives its sums, which are added in a tree."""

from collections.abc import Callable
from functools import reduce
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np

from fastem.engine.contract import Domain, Model, Shape
from fastem.engine.data import Data
from fastem.engine.partial_labels import PartialLabels
from fastem.engine.statistics import add, add_base
from fastem.engine.units import units_within
from fastem.engine.validation import Survey, merge
from fastem.kernels.tiles import tile_rows
from fastem.sources import Source, partition_source

__all__ = ["ClusterData", "make_data"]

_FAN_IN = 8
_PIECES = 32
_PIECE_BYTES = 64 * 2**20


def make_data(
    source: Source,
    weights: np.ndarray | None,
    client: Any,
    n_threads: int | None,
    allowed: PartialLabels | None = None,
    needs_values: bool = True,
    units: np.ndarray | None = None,
    is_checked: bool = False,
) -> Data:
    """Data whose passes run where they should: here, or where Dask computes."""
    if client is None and source.on_cluster(list) is None:
        return Data(source, weights, 0, allowed, needs_values, units, is_checked)
    return ClusterData(source, weights, client, n_threads, allowed, needs_values, units, is_checked)


class _Job(NamedTuple):
    """What each task of a pass is told: one object, sent to each worker once."""

    model: Any
    params: Any
    about: Any
    shape: Any
    n_threads: int | None
    is_checked: bool
    has_missing: bool
    has_large: bool


class ClusterData(Data):
    """Data whose partitions are summed up by tasks of Dask.

    A task is a pure function of parameters and partition, so a worker that is lost changes
    nothing but the time; sums are added in the order of the partitions, so neither do the
    number of workers and their speed.

    Parameters
    ----------
    source : Source
        A Dask collection, or other data, whose rows are dealt out in ranges: files are read by
        the workers, all else is sent to them once.
    weights : ndarray of shape (n,), optional
    client : distributed.Client, optional
        Default: the scheduler that Dask uses now.
    n_threads : int, optional
        Threads of a task on workers that do one at a time; default: 1.
    allowed : PartialLabels, optional
    needs_values, units, is_checked
        As in `Data`; partitions consist of whole units.
    """

    def __init__(
        self,
        source: Source,
        weights: np.ndarray | None = None,
        client: Any = None,
        n_threads: int | None = None,
        allowed: PartialLabels | None = None,
        needs_values: bool = True,
        units: np.ndarray | None = None,
        is_checked: bool = False,
    ):
        super().__init__(source, weights, 0, allowed, needs_values, units, is_checked)
        import dask

        self._dask = dask
        self.client = client
        self.n_threads = n_threads
        self.starts, self._partitions = source.on_cluster(self._persist) or self._deal_out(source)
        if units is not None and len(cut := np.setdiff1d(self.starts, units)):
            raise ValueError(
                f"A partition of the data begins in row {cut[0]}, within a unit: cut them between units, as in "
                "repartition of Dask."
            )
        self._weights = self._scatter(self.weights if len(self.weights) else None)
        self._allowed = self._scatter(allowed)
        self._units: list[Any] = [None] * len(self._partitions)
        if units is not None:
            inside = [units_within(units, int(a), int(b - a)) for a, b in pairwise(self.starts)]
            self._units = self._persist([self._dask.delayed(some, traverse=False) for some in inside])

    def _scatter(self, values: Any) -> list[Any]:
        """The share of each partition, kept on the workers so that it travels once."""
        if values is None:
            return [None] * len(self._partitions)
        shares = [self._dask.delayed(values[a:b], traverse=False) for a, b in pairwise(self.starts)]
        return self._persist(shares)

    def _drop(self, rows: np.ndarray) -> None:
        super()._drop(rows)
        if len(rows):
            self._weights = self._scatter(self.weights)

    def _survey(self, domain: Domain) -> Survey:
        of_domain = self._dask.delayed(domain, traverse=False)
        found = self._on_each(self._dask.delayed(_survey, pure=False), of_domain)
        return self._compute(_tree(found, self._dask.delayed(_merge_all, pure=False)))

    def accumulate(
        self, model: Model[Any, Any, Any], params: Any, about: Any, shape: Shape, given: np.ndarray | None = None
    ) -> Any:
        if given is not None:
            return super().accumulate(model, params, about, shape, given)
        if model.domain.is_surveyed:
            self.look(model.domain)
        job = _Job(model, params, about, shape, self.n_threads, self._is_checked, self.has_missing, self.has_large)
        sums = self._on_each(self._dask.delayed(_accumulate, pure=False), self._dask.delayed(job, traverse=False))
        stats, met_missing, met_large = self._compute(_tree(sums, self._dask.delayed(_add_all, pure=False)))
        if met_missing and not self.has_missing:
            self.look(model.domain)
        self.has_large |= met_large
        self._is_checked = True
        if self.launches.after_launch is not None:
            self.launches.after_launch(self.source.n_rows / tile_rows(self.source.dtype))
        return add_base(stats, 0.0 if self.survey is None else self.survey.base)

    def _on_each(self, task: Any, job: Any) -> list[Any]:
        parts = zip(self._partitions, self._weights, self._allowed, self._units, self.starts[:-1], strict=True)
        return [
            task(rows, (weights, allowed, units), int(first), job) for rows, weights, allowed, units, first in parts
        ]

    def _deal_out(self, source: Source) -> tuple[np.ndarray, list[Any]]:
        """Ranges of rows that each worker reads by itself; they do not depend on the cluster."""
        pieces = max(_PIECES, -(-source.n_rows * source.n_features * source.dtype.itemsize // _PIECE_BYTES))
        tile = tile_rows(source.dtype)
        size = max(1, -(-source.n_rows // (pieces * tile))) * tile
        starts = np.array([*range(0, source.n_rows, size), source.n_rows])
        if self.units is not None:
            starts = np.unique(self.units[np.searchsorted(self.units, starts)])
        if source.is_shared:
            ranges = [source.range(int(first), int(end - first)) for first, end in pairwise(starts)]
            return starts, [self._dask.delayed(part, traverse=False) for part in ranges]
        rows = []
        with source.reading() as fill:
            for first, end in pairwise(starts):
                rows.append(np.empty((end - first, source.n_features), source.dtype))
                fill(int(first), rows[-1])
        return starts, self._persist([self._dask.delayed(part, traverse=False) for part in rows])

    def _persist(self, values: list[Any]) -> list[Any]:
        return list(self._dask.persist(*values) if self.client is None else self.client.persist(values))

    def _compute(self, value: Any) -> Any:
        if self.client is None:
            return value.compute()
        future = self.client.compute(value)
        try:
            return future.result()
        except BaseException:
            future.cancel()
            raise


def _tree(values: list[Any], add_all: Callable[[list[Any]], Any]) -> Any:
    while len(values) > 1:
        values = [add_all(values[i : i + _FAN_IN]) for i in range(0, len(values), _FAN_IN)]
    return values[0]


# --- tasks ------------------------------------------------------------------------------------


_Side = tuple[np.ndarray | None, PartialLabels | None, np.ndarray | None]


def _data(partition: Any, side: _Side, first_row: int) -> Data:
    """A partition as data, with its weights, labels and units."""
    weights, allowed, units = side
    return Data(partition_source(partition), weights, first_row, allowed, needs_values=False, units=units)


def _survey(partition: Any, side: _Side, first_row: int, domain: Domain) -> Survey:
    """What a partition holds."""
    return _data(partition, side, first_row).look(domain)


def _accumulate(partition: Any, side: _Side, first_row: int, job: _Job) -> tuple[Any, bool, bool]:
    """Statistics of a partition, whether it has missing cells, and values that float32 is too narrow for."""
    data = _data(partition, side, first_row)
    data._is_checked, data.has_missing, data.has_large = job.is_checked, job.has_missing, job.has_large
    shape = job.shape._replace(n_threads=_threads(job.n_threads))
    stats = data.accumulate(job.model, job.params, job.about, shape)
    return stats, data.has_missing, data.has_large


def _add_all(sums: list[tuple[Any, bool, bool]]) -> tuple[Any, bool, bool]:
    return reduce(lambda a, b: (add(a[0], b[0]), a[1] or b[1], a[2] or b[2]), sums)


def _merge_all(found: list[Survey]) -> Survey:
    return reduce(merge, found)


def _threads(wanted: int | None) -> int:
    """Threads of this task: where tasks run side by side, each has one."""
    if wanted is None:
        return 1
    try:
        from distributed import get_worker

        return wanted if get_worker().state.nthreads == 1 else 1
    except (ImportError, ValueError):
        return 1

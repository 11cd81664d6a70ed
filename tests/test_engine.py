"""What the loop promises of any model: one of components, and one that has none.

The second one has a hidden number ``u ~ N(0, v)`` in each row, of which the row shows ``x ~ N(u, 1)``. So x is
``N(0, 1 + v)``, and the largest likelihood lies at ``v = max(mean(x^2) - 1, 0)``.
"""

from dataclasses import dataclass
from typing import Any, NamedTuple

import dask.array as da
import numpy as np
import pytest
from scipy.stats import norm

from fastem.engine.cluster import make_data
from fastem.engine.contract import Shape, Step
from fastem.engine.data import Data, accumulate
from fastem.engine.loop import Fit, StopReason
from fastem.engine.restarts import Runs
from fastem.engine.statistics import add
from fastem.estimators.gaussian_mixture import FAMILIES
from fastem.families.gaussian.family import GaussianParams
from fastem.kernels.tiles import tile_rows
from fastem.latent.mixture.contract import MixtureParams
from fastem.latent.mixture.deaths import Death, reseeds
from fastem.latent.mixture.model import MixtureModel
from fastem.report.verbose import VerboseLines
from fastem.sources import ArraySource, open_source
from fastem.storage.checkpoints import Checkpoint
from tests import stores

N_ROWS = 5000


class Variance(NamedTuple):
    v: np.ndarray


class Squares(NamedTuple):
    log_likelihood: np.ndarray
    weight: np.ndarray
    squares: np.ndarray


class Rows:
    """Rows that hold whatever they hold."""

    is_surveyed = False
    takes_missing = True

    def check(self, rows, first_row):
        pass

    def base(self, rows):
        pass

    def reach(self, rows):
        return np.empty(0)

    def widened(self, reach):
        return self


class Walk:
    """Sums tile by tile, so that they do not depend on how rows come in blocks."""

    def __init__(self, v, dtype):
        self.v, self.tile = v, tile_rows(dtype)
        self.sums = Squares(*np.zeros(3))

    def add(self, block, launches):
        for first in range(0, len(block.rows), self.tile):
            x = block.rows[first : first + self.tile, 0].astype(np.float64)
            w = block.weights[first : first + self.tile] if len(block.weights) else np.ones(len(x))
            expected = (self.v / (1 + self.v) * x) ** 2 + self.v / (1 + self.v)
            log_density = norm.logpdf(x, scale=np.sqrt(1 + self.v))
            self.sums = add(self.sums, Squares(w @ log_density, w.sum(dtype=np.float64), w @ expected))

    def is_finite(self):
        return True

    def finish(self):
        return self.sums


class HiddenNumbers:
    """The model without components."""

    domain = Rows()

    def start_pass(self, params, about, shape, missing):
        return Walk(float(params.v), shape.dtype)

    def objective(self, stats, params):
        return float(stats.log_likelihood / stats.weight)

    def recentre(self, stats, about, shape):
        return None

    def maximize(self, stats, about, memory):
        return Step(Variance(np.array(stats.squares / stats.weight)))


def _two_normals():
    family = FAMILIES["full"](1e-6)
    components = GaussianParams(np.array([[-1.0], [1.0]]), *family.invert(np.ones((2, 1, 1))))
    return MixtureModel(family, 2), MixtureParams(np.array([0.5, 0.5]), components)


@dataclass(frozen=True)
class Case:
    name: str
    model: Any
    start: Any
    memory: Any = None

    def __str__(self):
        return self.name

    def runs(self, data, dtype=np.float64, **settings):
        """All that `Runs` takes."""
        shape = Shape(1, np.dtype(dtype), 2)
        lines = VerboseLines(0, 1)
        given = {"several": False, "tol": 1e-8, "max_iter": 40, "listeners": [], "lines": lines} | settings
        return Runs(self.model, data, shape, lambda rng: iter([Fit(self.start, memory=self.memory)]), **given)

    def fit(self, data, dtype=np.float64, **settings):
        return self.runs(data, dtype, **settings).best(np.random.RandomState(0))

    def checkpoint(self, path, every=0.0):
        return Checkpoint(path, every, {"of": self.name}, self.start, None, self.memory, Death)


CASES = [Case("hidden_numbers", HiddenNumbers(), Variance(np.array(0.1))), Case("mixture", *_two_normals(), reseeds(2))]
pytestmark = pytest.mark.parametrize("case", CASES, ids=str)


@pytest.fixture
def rows():
    rng = np.random.default_rng(0)
    return rng.normal(size=(N_ROWS, 1)) + rng.choice([-2.0, 2.0], size=(N_ROWS, 1))


def _leaves(value):
    return [leaf for part in value for leaf in _leaves(part)] if isinstance(value, tuple) else [np.asarray(value)]


def _assert_same_bits(a, b):
    assert a.objectives == b.objectives
    for x, y in zip(_leaves(a.params), _leaves(b.params), strict=True):
        np.testing.assert_array_equal(x, y)


def _assert_close(a, b, rtol):
    np.testing.assert_allclose(a.objectives, b.objectives, rtol=rtol)
    for x, y in zip(_leaves(a.params), _leaves(b.params), strict=True):
        np.testing.assert_allclose(x, y, rtol=rtol, atol=rtol)


def test_the_objective_never_falls_and_ends_where_nothing_is_left_to_gain(case, rows):
    fit = case.fit(Data(ArraySource(rows)), max_iter=5000, tol=1e-13, reach=1e-9)
    assert fit.converged and not fit.falls
    assert np.min(np.diff(fit.objectives)) > -1e-12
    if case.name == "hidden_numbers":
        v = np.mean(rows**2) - 1
        assert float(fit.params.v) == pytest.approx(v, rel=1e-4)
        assert fit.objective == pytest.approx(norm.logpdf(rows, scale=np.sqrt(1 + v)).mean(), rel=1e-9)


def test_weights_are_replication(case, rows):
    repeats = np.random.default_rng(1).integers(0, 4, N_ROWS)
    weighted = case.fit(Data(ArraySource(rows), repeats))
    repeated = case.fit(Data(ArraySource(np.repeat(rows, repeats, axis=0))))
    _assert_close(weighted, repeated, 1e-9)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_data_give_the_same_bits_wherever_they_lie(case, rows, dtype, tmp_path):
    rows = rows.astype(dtype)
    fit = case.fit(Data(ArraySource(rows)), dtype)
    for store in (stores.npy, stores.raw, stores.several_files, stores.parquet, stores.zarr_array):
        _assert_same_bits(fit, case.fit(Data(open_source(store(tmp_path, rows))), dtype))


@pytest.mark.parametrize("chunks", [(700, 1), (5000, 1), ((1, 4000, 999), 1)])
def test_a_cluster_gives_the_same_numbers(case, rows, chunks):
    weights = np.random.default_rng(1).random(N_ROWS)
    fit = case.fit(Data(ArraySource(rows), weights))
    cluster = make_data(open_source(da.from_array(rows, chunks=chunks)), weights, None, 1)
    _assert_close(fit, case.fit(cluster), 1e-9)


@pytest.mark.parametrize("stop", [1, 7])
def test_a_checkpoint_goes_on_to_the_same_bits(case, rows, tmp_path, stop):
    whole = case.fit(Data(ArraySource(rows)))
    begun = case.fit(
        Data(ArraySource(rows)), checkpoint=case.checkpoint(tmp_path / "fit"), listeners=[lambda it: it.n_iter == stop]
    )
    assert begun.reason is StopReason.CALLBACK and len(begun.objectives) == stop
    _assert_same_bits(whole, case.fit(Data(ArraySource(rows)), checkpoint=case.checkpoint(tmp_path / "fit")))


def test_a_bound_on_the_gain_ends_a_fit_and_nothing_else_does(case, rows):
    """The model's word is taken for it: here that 7 iterations are enough, and then that none are."""
    fit = case.fit(Data(ArraySource(rows)), tol=1e-2, bound=lambda fit: 0.0 if len(fit.objectives) == 7 else 1.0)
    assert fit.converged and fit.reason is StopReason.OPTIMAL and len(fit.objectives) == 7
    fit = case.fit(Data(ArraySource(rows)), tol=1e-2, bound=lambda fit: 1.0)
    assert fit.reason is StopReason.MAX_ITER and len(fit.objectives) == 40


def test_histories_callbacks_and_sums_belong_to_each_other(case, rows):
    data, seen = Data(ArraySource(rows)), []
    fit = case.fit(data, max_iter=5, tol=0.0, listeners=[seen.append])
    assert [it.objective for it in seen] == fit.objectives == fit.history["objective"].tolist()
    assert [it.n_iter for it in seen] == [1, 2, 3, 4, 5] and {it.n_rows for it in seen} == {N_ROWS}
    before = seen[-2].params
    stats = accumulate(case.model, before, data, Shape(1, np.dtype(np.float64), 2))
    assert case.model.objective(stats, before) == fit.objective
    assert float(stats.weight) == N_ROWS

"""What is measured of other families: problems, fastem's iteration, peers, and what the machine allows."""

import os
import shutil
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any, NamedTuple

import numpy as np
from numba import njit, prange

from benchmarks.registry import Iterate, ask, dgemm_rate
from fastem import Mixture
from fastem.engine.contract import Shape
from fastem.engine.data import Data
from fastem.engine.loop import Fit, run
from fastem.families import (
    Bernoulli,
    Categorical,
    Exponential,
    Gaussian,
    LinearRegression,
    Multinomial,
    Poisson,
    StudentT,
)
from fastem.families.family import Family
from fastem.kernels.threads import available_threads
from fastem.kernels.tiles import tile_rows
from fastem.latent.mixture.contract import MixtureParams
from fastem.latent.mixture.kernels import normalise
from fastem.sources import ArraySource

LEVELS = 4  # of categorical columns
DOFS = 5.0
TRIALS = 20
PATTERNS = 20

Draw = Callable[[np.random.Generator, int, int], dict[str, np.ndarray]]


class Case(NamedTuple):
    """A family for d columns, and parameters (K, d) whose components overlap."""

    make: Callable[[int], Family[Any, Any]]
    draw: Draw


def _uniform(name: str, low: float, high: float) -> Draw:
    return lambda rng, k, d: {name: rng.uniform(low, high, (k, d))}


def _levels(rng: np.random.Generator, k: int, d: int) -> dict[str, np.ndarray]:
    return {"probabilities": rng.dirichlet(np.full(LEVELS, 5.0), (k, d)).reshape(k, d * LEVELS)}


def _shares(rng: np.random.Generator, k: int, d: int) -> dict[str, np.ndarray]:
    return {"probabilities": rng.dirichlet(np.full(d, 5.0), k)}


def _places(name: str, full: bool, rng: np.random.Generator, k: int, d: int) -> dict[str, np.ndarray]:
    values = {"means": rng.normal(size=(k, d)), name: np.tile(np.eye(d), (k, 1, 1)) if full else np.ones((k, d))}
    return {**values, "dofs": np.full(k, DOFS)} if name == "scales" else values


def _lines(rng: np.random.Generator, k: int, d: int) -> dict[str, np.ndarray]:
    slopes = rng.normal(scale=0.3, size=(k, d))
    return {"coefs": slopes, "intercepts": rng.normal(scale=0.5, size=k), "variances": np.ones(k)}


def _regression(d: int) -> LinearRegression:
    """Its rows have the response after the d columns; the bounds are those it draws rows from."""
    ones = np.ones(d + 1)
    return LinearRegression(bounds=np.array([0 * ones, -2 * ones, 2 * ones, ones]))


CASES = {
    "Poisson": Case(lambda d: Poisson(), _uniform("rates", 4, 7)),
    "Bernoulli": Case(lambda d: Bernoulli(), _uniform("probabilities", 0.3, 0.7)),
    "Categorical": Case(lambda d: Categorical([LEVELS] * d), _levels),
    "StudentT full": Case(lambda d: StudentT("full"), partial(_places, "scales", True)),
    "StudentT diag": Case(lambda d: StudentT("diag", dofs=DOFS), partial(_places, "scales", False)),
    "LinearRegression": Case(_regression, _lines),
    "Exponential": Case(lambda d: Exponential(), _uniform("rates", 0.7, 1.4)),
    "Multinomial": Case(lambda d: Multinomial(n_trials=TRIALS), _shares),
    "Gaussian full": Case(lambda d: Gaussian("full"), partial(_places, "covariances", True)),
    "Gaussian diag": Case(lambda d: Gaussian("diag"), partial(_places, "covariances", False)),
}


@dataclass(frozen=True)
class Mixed:
    """Rows of K overlapping components of a family, of which some cells may be missing.

    They miss ``"cells"``, one in ten, or ``"patterns"``: half of the rows one of PATTERNS sets of
    one to four columns.
    """

    case: str
    n: int = 1_000_000
    d: int = 10
    k: int = 5
    missing: str = ""

    def __str__(self) -> str:
        return f"{self.case}{', missing ' + self.missing if self.missing else ''}"

    @cached_property
    def family(self) -> Family[Any, Any]:
        return CASES[self.case].make(self.d)

    @cached_property
    def values(self) -> dict[str, np.ndarray]:
        return CASES[self.case].draw(np.random.default_rng(0), self.k, self.d)

    @cached_property
    def params(self) -> MixtureParams:
        return MixtureParams(np.full(self.k, 1 / self.k), self.family.with_values(None, self.values))

    @cached_property
    def rows(self) -> np.ndarray:
        rng = np.random.RandomState(1)
        counts = np.bincount(rng.randint(self.k, size=self.n), minlength=self.k)
        drawn = [self.family.sample(self.params.components, k, count, rng) for k, count in enumerate(counts)]
        rows = np.concatenate(drawn)[rng.permutation(self.n)]
        rows[self._holes(rows.shape[1], rng)] = np.nan
        return rows

    def _holes(self, d: int, rng: np.random.RandomState) -> np.ndarray:
        if self.missing == "cells":
            return rng.uniform(size=(self.n, d)) < 0.1
        patterns = np.zeros((1 + PATTERNS, d), bool)
        for pattern in patterns[1:]:
            pattern[rng.permutation(d)[: rng.randint(1, 5)]] = True
        chosen = rng.randint(1, 1 + PATTERNS, size=self.n) * (rng.uniform(size=self.n) < 0.5)
        return patterns[chosen if self.missing == "patterns" else 0 * chosen]


def fastem(problem: Mixed, dtype: str = "float64") -> tuple[Iterate, float | None]:
    """An iteration from the problem's parameters, and the seconds of the look at the rows before a fit, if any.

    All iterations are of data that were looked at, so that what happens once a fit is not in them.
    """
    data = Data(ArraySource(problem.rows.astype(dtype)))
    model = Mixture(problem.family, problem.k)._make_model(data)
    shape = Shape(data.source.n_features, data.source.dtype, available_threads(None))
    data.look(model.family)

    def iterate() -> float:
        began = time.perf_counter()
        run(model, Fit(problem.params), data, shape, tol=0, max_iter=1)
        return time.perf_counter() - began

    if not model.family.is_surveyed:
        return iterate, None
    began = time.perf_counter()
    Data(data.source).look(model.family)
    return iterate, time.perf_counter() - began


# --- peers ------------------------------------------------------------------------------------

# Those that were fastest among the packages of PyPI, with the precision they compute in.
PEERS = {
    "Poisson": [("pomegranate", "float32"), ("pomegranate", "float64")],
    "Bernoulli": [("pomegranate", "float32"), ("pomegranate", "float64"), ("stepmix", "float64")],
    "Categorical": [("stepmix", "float64"), ("pomegranate", "float32")],
    "StudentT full": [("smm", "float64")],
    "StudentT diag": [("pomegranate", "float32"), ("pomegranate", "float64")],
    "LinearRegression": [("loop in NumPy", "float64"), ("flexmix", "float64")],
    "Gaussian diag": [("pomegranate", "float32"), ("stepmix", "float64")],
    "Gaussian full": [("astroML", "float64")],
}


def peers(problem: Mixed) -> dict[str, Iterate]:
    """Those of a problem that are installed in the environment whose Python FASTEM_PEERS names, and in R."""
    found = {}
    for peer, dtype in PEERS[problem.case]:
        settings = {
            "peer": peer,
            "dtype": dtype,
            "case": problem.case,
            "k": problem.k,
            "levels": LEVELS,
            "values": {name: value.tolist() for name, value in problem.values.items()},
        }
        name = f"{peer}, {dtype}"
        if peer == "flexmix":
            if _has_flexmix():
                found[name] = ask("Rscript", "flexmix_worker.R", problem.rows, settings)
        elif os.environ.get("FASTEM_PEERS"):
            found[name] = ask(os.environ["FASTEM_PEERS"], "peers_worker.py", problem.rows, settings)
    return found


def _has_flexmix() -> bool:
    if shutil.which("Rscript") is None:
        return False
    asked = subprocess.run(["Rscript", "-e", "library(flexmix)"], check=False, capture_output=True)
    return asked.returncode == 0


# --- limits -----------------------------------------------------------------------------------


def useful(problem: Mixed) -> float:
    """Floating-point operations that an iteration cannot do without; exponentials are not among them.

    Of each row and component: a multiplication and an addition for each cell in the log-density
    and in the statistics, for which regressions need all products of two columns, of d and the
    response; categorical cells need one addition in both.
    """
    d = problem.d
    density = d if problem.case == "Categorical" else 2 * d
    statistics = (d + 1) * (d + 2) if problem.case == "LinearRegression" else density
    return float((density + statistics) * problem.k * problem.n)


class Bound(NamedTuple):
    """Least seconds of an iteration, and which of the machine's limits they come from."""

    seconds: float
    binds: str


def bound(problem: Mixed, of_bytes: float, of_operations: float) -> Bound:
    """Reading the rows once or the useful arithmetic, whichever takes longer, from seconds of 1e9 of either."""
    return max(
        Bound(problem.rows.nbytes / 1e9 * of_bytes, "memory"),
        Bound(useful(problem) / 1e9 * of_operations, "arithmetic"),
    )


def memory(megabytes: int = 800) -> Iterate:
    """Seconds that all threads take to read 1e9 bytes of memory."""
    values = np.ones(megabytes * 10**6 // 8)
    _sum(values)

    def read() -> float:
        began = time.perf_counter()
        _sum(values)
        return (time.perf_counter() - began) / values.nbytes * 1e9

    return read


def arithmetic() -> float:
    """Seconds of 1e9 floating-point operations in a product of matrices."""
    return 1e9 / dgemm_rate(repeats=1)


@njit(parallel=True, fastmath=True)  # in order, the sum would wait for additions and not for memory
def _sum(values):  # type: ignore[no-untyped-def]
    s = 0.0
    for i in prange(values.shape[0]):
        s += values[i]
    return s


def softmax(problem: Mixed) -> Iterate:
    """The normalisation of responsibilities alone, of as many rows and components, in the nearest cache."""
    m = tile_rows(np.dtype(np.float64))
    resp = np.random.default_rng(0).normal(size=(available_threads(None), problem.k, m))
    weights, no_rows = np.ones((len(resp), m)), np.empty((0, problem.d))
    _normalise_tiles(resp, weights, no_rows, 1)

    def iterate() -> float:
        began = time.perf_counter()
        _normalise_tiles(resp, weights, no_rows, -(-problem.n // m))
        return time.perf_counter() - began

    return iterate


@njit(parallel=True, error_model="numpy")
def _normalise_tiles(resp, weights, no_rows, n_tiles):  # type: ignore[no-untyped-def]
    for worker in prange(resp.shape[0]):
        for _ in range(worker, n_tiles, resp.shape[0]):
            normalise(resp[worker], weights[worker], no_rows, 0)

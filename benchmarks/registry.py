"""What is measured: shapes, operations and their implementations.

An implementation is a function ``prepare(problem) -> measure``; ``measure()`` does the operation
once and returns the seconds that took. ``iteration`` is one E-step and one M-step from the
problem's parameters, ``predict_proba`` the responsibilities of all rows.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
import weakref
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

Iterate = Callable[[], float]
FOLDER = Path(__file__).parent


@dataclass(frozen=True)
class Problem:
    """Rows of K overlapping standard normals whose centres are `apart` deviations from the origin."""

    n: int
    d: int
    k: int
    apart: float
    covariance_type: str = "full"
    dtype: str = "float64"

    def __str__(self) -> str:
        apart = f"{self.apart:g} apart" + (", well separated" if self.apart >= 5 else "")
        return (
            f"{self.n:.0e}".replace("e+0", "e") + f", {self.d}, {self.k}, {apart}, {self.covariance_type}, {self.dtype}"
        )

    @cached_property
    def means(self) -> np.ndarray:
        return self.apart * np.random.default_rng(0).normal(size=(self.k, self.d))

    @cached_property
    def rows(self) -> np.ndarray:
        rng = np.random.default_rng(1)
        rows = rng.normal(size=(self.n, self.d))
        rows += self.means[rng.integers(self.k, size=self.n)]
        return rows.astype(self.dtype)

    @cached_property
    def weights(self) -> np.ndarray:
        return np.full(self.k, 1 / self.k)

    @cached_property
    def precisions(self) -> np.ndarray:
        return {
            "full": np.tile(np.eye(self.d), (self.k, 1, 1)),
            "tied": np.eye(self.d),
            "diag": np.ones((self.k, self.d)),
            "spherical": np.ones(self.k),
        }[self.covariance_type]


SHAPES = [
    (1_000_000, 50, 10, 0.3),
    (1_000_000, 10, 10, 1),
    (1_000_000, 2, 3, 1),
    (1_000_000, 2, 20, 1),
    (1_000_000, 1, 2, 1),
    (200_000, 100, 32, 0.2),
]
SEPARATED = (1_000_000, 10, 10, 10)


def fastem(problem: Problem, n_threads: int | None = None) -> Iterate:
    from fastem.engine.contract import Shape
    from fastem.engine.data import Data
    from fastem.engine.loop import Fit, run
    from fastem.estimators.gaussian_mixture import FAMILIES
    from fastem.families.gaussian.family import GaussianParams
    from fastem.kernels.threads import available_threads
    from fastem.latent.mixture.contract import MixtureParams
    from fastem.latent.mixture.model import MixtureModel
    from fastem.sources import ArraySource

    family = FAMILIES[problem.covariance_type](1e-6)
    params = MixtureParams(problem.weights, GaussianParams(problem.means, *family.invert(problem.precisions)))
    model = MixtureModel(family, problem.k)
    data = Data(ArraySource(problem.rows))
    shape = Shape(problem.d, problem.rows.dtype, available_threads(n_threads))

    def iterate() -> float:
        began = time.perf_counter()
        run(model, Fit(params), data, shape, tol=0, max_iter=1)
        return time.perf_counter() - began

    return iterate


def sklearn(problem: Problem) -> Iterate:
    from sklearn.mixture import GaussianMixture

    mixture = GaussianMixture(
        problem.k,
        covariance_type=problem.covariance_type,
        weights_init=problem.weights,
        means_init=problem.means,
        precisions_init=problem.precisions,
    )
    rows = problem.rows

    def iterate() -> float:
        mixture._initialize(rows, None)
        began = time.perf_counter()
        _, log_resp = mixture._e_step(rows)
        mixture._m_step(rows, log_resp)
        return time.perf_counter() - began

    return iterate


def onedal(problem: Problem) -> Iterate:
    """oneDAL's em_gmm, in the environment whose Python FASTEM_ONEDAL names."""
    if problem.covariance_type not in ("full", "diag"):
        raise NotImplementedError(problem.covariance_type)
    settings = {"k": problem.k, "covariance_type": problem.covariance_type, "means": problem.means.tolist()}
    return ask(os.environ["FASTEM_ONEDAL"], "onedal_worker.py", problem.rows, settings)


def ask(interpreter: str, script: str, rows: np.ndarray, settings: dict[str, object]) -> Iterate:
    """Measurements of a script of this folder, made in a process that stays: it has libraries of its own."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "rows.npy"
        np.save(path, rows)
        worker = subprocess.Popen(
            [interpreter, str(FOLDER / script), str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert worker.stdin and worker.stdout
        worker.stdin.write(json.dumps(settings) + "\n")
        worker.stdin.flush()
        said = worker.stdout.readline()  # when it has read the rows
    if said != "ready\n":
        worker.communicate()
        raise RuntimeError(f"{script} said {said!r} with {settings}.")

    def iterate() -> float:
        worker.stdin.write("go\n")
        worker.stdin.flush()
        return float(worker.stdout.readline())

    weakref.finalize(iterate, worker.communicate)
    return iterate


def fastem_proba(problem: Problem) -> Iterate:
    return _timed(_mixture(problem).predict_proba, problem)


def sklearn_proba(problem: Problem) -> Iterate:
    return _timed(_mixture(problem).to_sklearn().predict_proba, problem)


def _mixture(problem: Problem):  # type: ignore[no-untyped-def]
    from fastem import GaussianMixture

    return GaussianMixture(
        problem.k,
        covariance_type=problem.covariance_type,
        weights_init=problem.weights,
        means_init=problem.means,
        precisions_init=problem.precisions,
        max_iter=0,
    ).fit(problem.rows[: 10 * problem.k])


def _timed(method: Callable[[np.ndarray], object], problem: Problem) -> Iterate:
    def measure() -> float:
        began = time.perf_counter()
        method(problem.rows)
        return time.perf_counter() - began

    return measure


def implementations(operation: str = "iteration") -> dict[str, Callable[[Problem], Iterate]]:
    """Those of an operation that are installed; scikit-learn always is."""
    if operation == "predict_proba":
        return {"fastem": fastem_proba, "sklearn": sklearn_proba}
    found: dict[str, Callable[[Problem], Iterate]] = {"fastem": fastem, "sklearn": sklearn}
    if os.environ.get("FASTEM_ONEDAL"):
        found["onedal"] = onedal
    return found


def dgemm_rate(n: int = 2000, repeats: int = 5) -> float:
    """This machine's floating-point operations per second in a product of matrices."""
    a, b = np.random.default_rng(0).normal(size=(2, n, n))
    a @ b
    seconds = []
    for _ in range(repeats):
        began = time.perf_counter()
        a @ b
        seconds.append(time.perf_counter() - began)
    return 2 * n**3 / float(np.median(seconds))


def python(code: str) -> float:
    """Seconds that a fresh Python process takes for some code."""
    began = time.perf_counter()
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
    return time.perf_counter() - began

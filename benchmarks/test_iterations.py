"""Seconds per EM iteration, implementations interleaved in one run.

pytest-benchmark times fastem; ``extra_info`` holds the medians of all implementations and the
machine's DGEMM rate in the same run.
"""

import time

import numpy as np
import pytest

from benchmarks.registry import SEPARATED, SHAPES, Problem, dgemm_rate, fastem, implementations

PROBLEMS = [Problem(*shape, covariance_type) for covariance_type in ("full", "diag") for shape in SHAPES]
PROBLEMS += [Problem(*SEPARATED, covariance_type) for covariance_type in ("full", "diag")]
ALONE = [Problem(*shape, covariance_type) for covariance_type in ("tied", "spherical") for shape in SHAPES]
SINGLE = [Problem(*shape, covariance_type, "float32") for covariance_type in ("full", "diag") for shape in SHAPES]
ROUNDS = 3
# Threads of the implementation before keep spinning for a while.
SETTLE = 0.2


def _useful(problem):
    """Arithmetic of an iteration with full covariances."""
    return 4 * (problem.d * (problem.d + 1) / 2 + problem.d) * problem.n * problem.k


def _measure(problem, operation):
    iterates = {name: prepare(problem) for name, prepare in implementations(operation).items()}
    seconds = {name: [] for name in iterates}
    iterates["fastem"]()  # compiles
    for _ in range(ROUNDS):
        for name, iterate in iterates.items():
            time.sleep(SETTLE)
            for _ in range(3):
                seconds[name].append(iterate())
                if seconds[name][-1] > 1:
                    break
    return {name: float(np.median(values)) for name, values in seconds.items()}


@pytest.mark.parametrize("problem", PROBLEMS, ids=str)
def test_against_peers(benchmark, problem):
    rate = dgemm_rate()
    medians = _measure(problem, "iteration")
    benchmark.extra_info.update(
        problem={name: getattr(problem, name) for name in ("n", "d", "k", "apart", "covariance_type", "dtype")},
        seconds=medians,
        dgemm=rate,
        useful=_useful(problem) if problem.covariance_type == "full" else None,
    )
    benchmark.pedantic(fastem(problem), rounds=3, iterations=1)


@pytest.mark.parametrize("problem", PROBLEMS[: len(SHAPES)], ids=str)
def test_predict_proba(benchmark, problem):
    benchmark.extra_info.update(problem=str(problem), seconds=_measure(problem, "predict_proba"))
    benchmark.pedantic(implementations("predict_proba")["fastem"](problem), rounds=3, iterations=1)


@pytest.mark.parametrize("problem", ALONE, ids=str)
def test_other_structures(benchmark, problem):
    """tied beside full, spherical beside diag."""
    other = Problem(
        problem.n, problem.d, problem.k, problem.apart, {"tied": "full", "spherical": "diag"}[problem.covariance_type]
    )
    _interleave(benchmark, problem, other)


@pytest.mark.parametrize("problem", SINGLE, ids=str)
def test_float32(benchmark, problem):
    other = Problem(problem.n, problem.d, problem.k, problem.apart, problem.covariance_type)
    _interleave(benchmark, problem, other)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_threads(benchmark, shape):
    """Two threads beside one."""
    problem = Problem(*shape)
    one, two = fastem(problem, 1), fastem(problem, 2)
    _record(benchmark, problem, {"1 thread": one, "2 threads": two})
    benchmark.pedantic(two, rounds=3, iterations=1)


def _interleave(benchmark, problem, other):
    _record(benchmark, problem, {"fastem": fastem(problem), "float64 " + other.covariance_type: fastem(other)})
    benchmark.pedantic(fastem(problem), rounds=3, iterations=1)


def _record(benchmark, problem, iterates):
    seconds = {name: [] for name in iterates}
    for iterate in iterates.values():
        iterate()
    for _ in range(7):
        for name, iterate in iterates.items():
            time.sleep(SETTLE)
            seconds[name].append(iterate())
    benchmark.extra_info.update(
        problem=str(problem), seconds={name: float(np.median(values)) for name, values in seconds.items()}
    )

"""Seconds per EM iteration of other families: beside peers, beside what the machine allows, and with missing cells.

Everything of a test is interleaved in one run; ``extra_info`` holds medians and ratios.
"""

import time

import numpy as np
import pytest

from benchmarks.families import Mixed, arithmetic, bound, fastem, memory, peers, softmax

AGAINST_PEERS = [
    Mixed(case)
    for case in ("Poisson", "Bernoulli", "Categorical", "StudentT full", "StudentT diag", "LinearRegression")
]
# Families whose kernels have no exponentials and logarithms of their own.
LIMITED = [
    Mixed(case) for case in ("Poisson", "Bernoulli", "Categorical", "LinearRegression", "Exponential", "Multinomial")
]
WITH_MISSING = [Mixed("Gaussian diag", missing="cells"), Mixed("Gaussian full", n=20_000, missing="cells")]
ROUNDS = 3
# Threads of the implementation before keep spinning for a while.
SETTLE = 0.2
# Of each implementation in a round.
SECONDS = 0.3
# A measurement that takes longer is not repeated.
LONG = 15


def _measure(iterates, summary=np.median):
    seconds = {name: [] for name in iterates}
    for name, iterate in iterates.items():
        if name.startswith("fastem"):
            iterate()  # compiles
    once = set()
    for _ in range(ROUNDS):
        for name, iterate in iterates.items():
            if name in once:
                continue
            time.sleep(SETTLE)
            began = time.perf_counter()
            seconds[name].append(iterate())
            while time.perf_counter() < began + SECONDS:
                seconds[name].append(iterate())
            if time.perf_counter() > began + LONG:
                once.add(name)
    return {name: float(summary(values)) for name, values in seconds.items()}


def _ratios(seconds, others):
    """How many times the seconds of fastem the best of others takes."""
    ours = ("fastem, float64", "fastem, float32") if others else ()
    return {name: min(seconds[other] for other in others) / seconds[name] for name in ours}


def _describe(problem):
    return {name: getattr(problem, name) for name in ("case", "n", "d", "k", "missing")}


@pytest.mark.parametrize("problem", AGAINST_PEERS + WITH_MISSING, ids=str)
def test_peers(benchmark, problem):
    """Beside the best peer of any precision, and the best one that computes in float64."""
    (double, survey), (single, _) = fastem(problem), fastem(problem, "float32")
    others = peers(problem)
    seconds = _measure({"fastem, float64": double, "fastem, float32": single, **others})
    benchmark.extra_info.update(
        problem=_describe(problem),
        seconds=seconds,
        survey=survey,
        peers=list(others),
        ratios=_ratios(seconds, list(others)),
        alike=_ratios(seconds, [name for name in others if name.endswith("float64")]),
        wanted=20,
    )
    benchmark.pedantic(double, rounds=3, iterations=1)


@pytest.mark.parametrize("problem", LIMITED, ids=str)
def test_limits(benchmark, problem):
    """Beside the least time that reading the rows or the useful arithmetic takes.

    The exponentials of the responsibilities are no part of that bound; the second share is of the
    time without them, which is that of the same code on responsibilities alone. All seconds are
    the least ones, because other work on the machine only adds to them, and not to all alike.
    """
    iterate, survey = fastem(problem)
    seconds = _measure(
        {
            "fastem": iterate,
            "softmax": softmax(problem),
            "1e9 bytes": memory(),
            "1e9 operations": arithmetic,
        },
        min,
    )
    least = bound(problem, seconds["1e9 bytes"], seconds["1e9 operations"])
    benchmark.extra_info.update(
        problem=_describe(problem),
        seconds=seconds,
        survey=survey,
        bound=least.seconds,
        binds=least.binds,
        share=least.seconds / seconds["fastem"],
        share_without_softmax=least.seconds / (seconds["fastem"] - seconds["softmax"]),
        wanted=0.3,
    )
    benchmark.pedantic(iterate, rounds=3, iterations=1)


def test_missing(benchmark):
    """Complete rows beside rows with missing cells, in any pattern or in few."""
    wanted = {"cells": 6, "patterns": 2}
    problems = {missing: Mixed("Gaussian full", missing=missing) for missing in ("", *wanted)}
    iterates = {missing: fastem(problem)[0] for missing, problem in problems.items()}
    seconds = _measure({f"fastem, {missing or 'complete'}": iterate for missing, iterate in iterates.items()})
    benchmark.extra_info.update(
        problem=_describe(problems[""]),
        seconds=seconds,
        slower={missing: seconds[f"fastem, {missing}"] / seconds["fastem, complete"] for missing in wanted},
        wanted=wanted,
    )
    benchmark.pedantic(iterates["cells"], rounds=3, iterations=1)

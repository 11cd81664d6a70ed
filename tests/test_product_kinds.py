"""A Product compiles each kind of part once, in several processes at a time."""

import os
import subprocess
import sys
import textwrap

import numpy as np
import pytest

from fastem import Mixture
from fastem.families import Gaussian, Poisson, Product
from fastem.kernels import dispatch, helpers


def _fit(n):
    rng = np.random.default_rng(0)
    X = np.column_stack([rng.poisson(3, 300) if j % 2 else rng.normal(size=300) for j in range(n)])
    family = Product({j: Poisson() if j % 2 else Gaussian("diag") for j in range(n)})
    return X, Mixture(family, 1).fit(X)


def test_the_number_of_parts_compiles_nothing_more():
    _fit(2)
    functions, passes = len(dispatch._functions), dispatch._compile_pass.cache_info().currsize
    X, fit = _fit(6)
    assert (len(dispatch._functions), dispatch._compile_pass.cache_info().currsize) == (functions, passes)
    for j in range(6):
        part = fit.parts_[str(j)]
        value = part["rates"] if j % 2 else part["means"]
        np.testing.assert_allclose(value, X[:, j].mean(), rtol=1e-12)


def test_helpers_compile_what_a_fit_then_finds(tmp_path):
    """The fit waits for the helper here: it has nothing left to compile but the pass, and gives the same bits."""
    code = """
        import sys, warnings
        import numpy as np
        from fastem import Mixture
        from fastem.families import Bernoulli, Gaussian, Poisson, Product, _parts
        from fastem.kernels import dispatch, helpers
        warnings.simplefilter("ignore")

        def start_and_wait(jobs):
            helpers.start_helpers(jobs)
            print(len(helpers._running), *(process.wait() for process in helpers._running))

        if sys.argv[1] == "wait":
            _parts.start_helpers = start_and_wait
        rng = np.random.default_rng(0)
        X = np.column_stack([rng.normal(size=300), rng.poisson(3, 300), rng.random(300) < 0.4])
        fit = Mixture(Product({0: Gaussian("diag"), 1: Poisson(), 2: Bernoulli()}), 1, max_iter=1).fit(X)
        hits = sum(sum(kernel.stats.cache_hits.values()) for kernel in dispatch._functions.values())
        misses = sum(sum(kernel.stats.cache_misses.values()) for kernel in dispatch._functions.values())
        print(hits, misses, fit.log_likelihood_)
    """
    script = tmp_path / "script.py"
    script.write_text(textwrap.dedent(code))

    def run(how):
        env = {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path / "cache"), "NUMBA_NUM_THREADS": "2"}
        done = subprocess.run([sys.executable, script, how], env=env, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr[-3000:]
        return done.stdout.splitlines()

    first, *more, last = run("wait")
    assert first == "1 0" and set(more) <= {"1 0"}
    assert last.split()[:2] == ["4", "0"]  # counts and flags have the same kernels
    assert run("go")[-1] == last


def test_kernels_in_the_cache_need_no_helpers(monkeypatch):
    _fit(2)
    monkeypatch.setattr(helpers, "_start", lambda jobs: pytest.fail("there is nothing to compile"))
    _fit(4)

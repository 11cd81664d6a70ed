"""What benchmarks are made of, at tiny sizes, and the comparison of two saved runs."""

import json
import sys

import numpy as np
import pytest

from benchmarks.compare import main, ratios, regressions
from benchmarks.families import CASES, PEERS, Mixed, bound, fastem, peers, softmax, useful
from benchmarks.table import main as tables


def _run(path, seconds):
    entries = [
        {"name": "full", "extra_info": {"seconds": seconds, "useful": 1e9, "dgemm": 1e10}},
        {"name": "small", "extra_info": {"seconds": {"fastem": 1.0}}},
        {"name": "other", "extra_info": {}},
    ]
    path.write_text(json.dumps({"benchmarks": entries}))
    return str(path)


def test_only_ratios_count(tmp_path):
    before = _run(tmp_path / "a.json", {"fastem": 1.0, "sklearn": 20.0})
    assert ratios(before) == {"full against scikit-learn": 20.0, "full against DGEMM": 0.1}
    slower_machine = _run(tmp_path / "b.json", {"fastem": 1.1, "sklearn": 22.0})
    assert main(before, slower_machine) == 0
    regression = _run(tmp_path / "c.json", {"fastem": 1.25, "sklearn": 20.0})
    assert main(before, regression) == 1


def test_what_is_missing_is_a_regression():
    assert regressions({"a": 1.0, "b": 1.0}, {"a": 0.86}) == ["b: missing"]


def test_families_beside_a_peer_and_limits(monkeypatch):
    monkeypatch.setenv("FASTEM_PEERS", sys.executable)  # the loop needs no other package
    monkeypatch.setitem(PEERS, "LinearRegression", [("loop in NumPy", "float64")])
    problem = Mixed("LinearRegression", n=2000, d=2, k=2)
    assert problem.rows.shape == (2000, 3)
    iterate, survey = fastem(problem)
    others = peers(problem)
    assert list(others) == ["loop in NumPy, float64"]
    assert min(survey, iterate(), softmax(problem)(), *(other() for other in others.values())) > 0
    assert useful(problem) == 2000 * 2 * (2 * 2 + 3 * 4)
    assert bound(problem, of_bytes=1.0, of_operations=1e-3) == (48_000 / 1e9, "memory")


@pytest.mark.parametrize("case", CASES)
def test_families_draw_rows_that_they_take(case):
    problem = Mixed(case, n=300)
    problem.family.check(problem.rows, 0)
    problem.family.check_params(problem.params.components, problem.k, problem.rows.shape[1])


def test_families_miss_what_they_should():
    cells = np.isnan(Mixed("Gaussian diag", n=5000, missing="cells").rows)
    assert abs(cells.mean() - 0.1) < 0.01
    patterns = np.isnan(Mixed("Gaussian diag", n=5000, missing="patterns").rows)
    assert abs(patterns.any(axis=1).mean() - 0.5) < 0.05
    assert len(np.unique(patterns, axis=0)) <= 21


def test_tables_of_families(tmp_path, capsys):
    problem = {"case": "Poisson", "n": 1000, "d": 3, "k": 2, "missing": ""}
    ours = {"fastem, float64": 0.002, "fastem, float32": 0.001}
    infos = [
        {"problem": problem, "survey": None, "peers": ["a, float64"], "seconds": {**ours, "a, float64": 0.03}},
        {"problem": problem, "survey": 0.01, "peers": [], "seconds": ours},
        {
            "problem": problem, "seconds": {"fastem": 0.004, "softmax": 0.001},
            "bound": 0.002, "binds": "memory", "share": 0.5, "share_without_softmax": 2 / 3,
        },
        {"problem": problem, "seconds": {"fastem, complete": 0.01, "fastem, cells": 0.05}, "slower": {"cells": 5.0}},
    ]  # fmt: skip
    path = tmp_path / "run.json"
    machine = {"cpu": {"brand_raw": "AMD EPYC", "count": 2}, "vector_bytes": 64}
    entries = [{"name": "a", "extra_info": info} for info in infos]
    path.write_text(json.dumps({"machine_info": machine, "benchmarks": entries}))
    tables(str(path))
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "AMD EPYC, 2 cores, vectors of 64 bytes"
    name = "| Poisson, 1,000, 3, 2"
    assert f"{name} | 2 ms, **15.0x** | 1 ms, **30.0x** | a, float64 30 ms |  |" in lines
    assert f"{name} | 2 ms | 1 ms |  | 10 ms |" in lines
    assert f"{name} | 4 ms | 1 ms | 2 ms, memory | 50% | 67% |" in lines
    assert f"{name} | 10 ms | 50 ms, 5.0x |" in lines

"""The comparison of two saved benchmark runs."""

import json

from benchmarks.compare import main, ratios, regressions


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

"""The examples of the documentation do what it says."""

import doctest
from pathlib import Path

import numba
import pytest

DOCS = Path(__file__).parent.parent / "docs"


@pytest.mark.parametrize("page", ["data.rst", "families.rst", "missing.rst", "labels.rst", "em.rst", "extending.rst"])
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_examples(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    if page == "extending.rst":
        monkeypatch.syspath_prepend(DOCS / "examples")
        # the kernels of a family that only this test can import do not belong into the cache of all
        monkeypatch.setattr(numba.config, "CACHE_DIR", str(tmp_path / "kernels"))
    failed, tried = doctest.testfile(str(DOCS / page), module_relative=False)
    assert tried > 15 and not failed

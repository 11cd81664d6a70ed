"""Rules of the house that no single test would notice being broken."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "fastem"
ENGINE = {
    "simd",
    "elementary",
    "tiles",
    "statistics",
    "dispatch",
    "family",
    "threads",
    "memory",
    "files",
    "pace",
    "nesting",
    "erased",
}
# What the modules of each part may import from fastem.
ALLOWED = {
    "simd": set(),
    "statistics": set(),
    "files": set(),
    "pace": set(),
    "memory": set(),
    "elementary": {"simd"},
    "tiles": {"simd"},
    "nesting": set(),
    "dispatch": {"nesting", "turns"},
    "turns": set(),
    "erased": {"dispatch", "nesting"},
    "allowed": set(),
    "survey": {"family", "sources"},
    "family": set(),
    "threads": {"dispatch"},
    "sources": {"files", "memory", "tiles", "sources"},
    "families": ENGINE | {"families"},
    "latent": ENGINE | {"latent"},
    "em": {"sources", "pace", "family", "statistics", "tiles", "allowed", "survey"},
    "online": {"em", "family", "latent", "sources", "statistics"},
    "cluster": {"em", "sources", "statistics", "tiles", "allowed", "survey", "family"},
    "container": {"files"},
    "checkpoint": {"container", "files", "em", "latent"},
    "saddle": {"em", "family", "latent", "sources", "start", "threads"},
    "start": {"em", "family", "latent", "allowed", "sources", "survey", "threads"},
    "persistence": {"container", "estimators", "families", "family"},
    "estimators": ENGINE
    | {"em", "start", "online", "cluster", "checkpoint", "container", "sources", "families", "latent", "persistence"}
    | {"allowed", "survey", "saddle"}
    | {"estimators"},
    "progress": {"em"},
    "plot": {"estimators"},
}


def _modules():
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(PACKAGE).with_suffix("").parts
        if parts[0] in ALLOWED:
            yield pytest.param(parts[0], path, id="/".join(parts))


def _imports(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("fastem."):
            yield node.module.split(".")[1]
        elif isinstance(node, ast.Import):
            yield from (alias.name.split(".")[1] for alias in node.names if alias.name.startswith("fastem."))


@pytest.mark.parametrize(("part", "path"), list(_modules()))
def test_who_imports_whom(part, path):
    assert set(_imports(path)) <= ALLOWED[part], f"{path.name} imports what it must not know"


def test_fastmath_never_drops_nan_and_inf():
    for path in PACKAGE.rglob("*.py"):
        text = path.read_text()
        assert "fastmath=True" not in text and "nnan" not in text and "ninf" not in text, path


def test_only_simd_speaks_llvm():
    for path in PACKAGE.rglob("*.py"):
        if path.name != "simd.py":
            assert "llvmlite" not in path.read_text().replace('"llvmlite"', ""), path


def _loaded(code):
    done = subprocess.run(
        [sys.executable, "-c", f"{code}\nimport sys; print(*sys.modules)"], capture_output=True, text=True, check=True
    )
    return set(done.stdout.split())


def test_import_is_lazy():
    loaded = _loaded("import fastem")
    assert not loaded & {"numpy", "numba", "scipy", "sklearn", "rich", "matplotlib"}


def test_help_imports_nothing_heavy():
    loaded = _loaded("import fastem.cli\ntry: fastem.cli.main(['--help'])\nexcept SystemExit: pass")
    assert not loaded & {"numpy", "numba", "scipy", "sklearn", "rich", "matplotlib"}


def test_a_fit_imports_no_more_than_it_needs():
    """Beside NumPy, Numba, scipy.linalg and special, and what sklearn.base itself pulls in."""
    base = _loaded("import sklearn.base, sklearn.utils.validation, numba, scipy.linalg, scipy.special")
    fit = _loaded(
        "import numpy as np, fastem\n"
        "X = np.random.default_rng(0).normal(size=(50, 1))\n"
        "fastem.GaussianMixture(1, weights_init=[1], means_init=[[0]], precisions_init=[[[1]]]).fit(X).predict(X)"
    )
    top = {name.split(".")[0] for name in fit - base}
    assert not top & {"matplotlib", "rich", "pandas", "PIL"}
    assert not {name for name in fit - base if name.startswith(("scipy.stats", "sklearn.cluster", "sklearn.mixture"))}


def test_public_names_exist_and_are_documented():
    import fastem

    for name in fastem.__all__:
        assert getattr(fastem, name).__doc__, name
    assert set(fastem.__all__) <= set(dir(fastem))
    with pytest.raises(AttributeError, match="no attribute"):
        fastem.nonsense  # noqa: B018  # the access is the test


def test_tests_of_the_same_kernels_run_one_after_the_other():
    from tests.conftest import LONGEST, group_of
    from tests.family_cases import FAMILIES

    file = "tests/test_families.py"
    groups = [group_of(f"{file}::test_densities[complete-{name}]") for name in ("poisson", "binomial", "bernoulli")]
    assert groups == ["poisson"] * 3
    assert group_of("tests/test_contract.py::test_sample[gaussian_full]") == "gaussian_full"
    assert group_of(f"{file}::test_without_a_case") == group_of(f"{file}::test_of[float64]") == file
    names = {case.name for case in FAMILIES}
    assert {case.kernels for case in FAMILIES} - {None} <= names
    for group in LONGEST:
        assert group in names or (PACKAGE.parent / group).is_file(), group

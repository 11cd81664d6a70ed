"""Rules of the house that no single test would notice being broken."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "fastem"
# What each part may import from fastem beside itself: folders, or single modules of them. Every module is of a part.
ALLOWED = {
    "kernels": set(),
    "sources": {"kernels", "storage.atomic_write"},
    "engine": {"kernels", "sources"},
    "families": {"kernels", "engine.contract", "engine.statistics"},
    "latent": {"kernels", "engine", "sources"},
    "storage": {"engine"},
    "report": {"", "engine", "kernels"},
    "estimators": {"kernels", "engine", "sources", "families", "latent", "storage", "report"},
    "em": {"engine", "latent.steps", "sources", "storage", "report", "estimators._checks"},
    "plot": {"estimators"},
    "cli": {"", "kernels", "sources", "storage"},
    "__init__": {"em", "engine", "estimators", "families", "plot", "report", "sources", "storage"},
    "__main__": {"cli"},
}
MODULES = {path.relative_to(PACKAGE.parent).with_suffix(""): path for path in sorted(PACKAGE.rglob("*.py"))}


def _name(path):
    """The name of a module, without that of the package."""
    return ".".join(part for part in path.parts[1:] if part != "__init__") or "__init__"


NAMES = {_name(path): file for path, file in MODULES.items()}


def _imports(path, nodes=ast.walk):
    """Modules of fastem that a file imports, however it says so, as names without that of the package."""
    for node in nodes(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "fastem":
            base = node.module.removeprefix("fastem").removeprefix(".")
            inner = [f"{base}.{alias.name}".removeprefix(".") for alias in node.names]
            yield from (name if name in NAMES else base for name in inner)
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{path} has a relative import"
        elif isinstance(node, ast.Import):
            yield from (a.name[len("fastem.") :] for a in node.names if a.name.split(".")[0] == "fastem")


def _is_within(name, allowed):
    return any(name == part or (part and name.startswith(f"{part}.")) for part in allowed)


def test_each_module_is_of_a_part():
    assert {name.split(".")[0] for name in NAMES} == set(ALLOWED)


@pytest.mark.parametrize("name", NAMES)
def test_who_imports_whom(name):
    part = name.split(".")[0]
    wrong = {other for other in _imports(NAMES[name]) if not _is_within(other, {part, *ALLOWED[part]})}
    assert not wrong, f"{name} imports what it must not know"


def _needs(name):
    """What a module imports to begin with, and all that it ever imports of other parts."""
    ever = {other for other in _imports(NAMES[name]) if other.split(".")[0] != name.split(".")[0]}
    return (ever | set(_imports(NAMES[name], nodes=lambda tree: tree.body))) & set(NAMES) - {name}


def test_nothing_goes_in_circles():
    """Modules can be put in an order in which each needs earlier ones only."""
    needs = {name: _needs(name) for name in NAMES if name != "__init__"}
    while needs:
        free = {name for name, others in needs.items() if not others & set(needs)}
        assert free, f"these import each other: {sorted(needs)}"
        needs = {name: others for name, others in needs.items() if name not in free}


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

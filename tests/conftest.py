"""Which tests run side by side, with pytest-xdist: those that compile the same kernels run one after the other.

Processes that need the same kernel at once wait for each other, so that any distribution is right; this one waits
least. The group of a test is told from its identifier alone: since pytest 9.2 identifiers cannot carry the groups of
``--dist loadgroup``, so that ``--dist loadscope`` is taken over.
"""

import re
from collections import Counter
from functools import cache

import pytest

# Groups that take longest, longest first: what begins late should be short. Others follow by their number of tests.
LONGEST = (
    "gaussian_full", "tests/test_kernels.py", "tests/test_processes.py", "tests/test_mixture.py", "gaussian_tied",
    "student_t_full", "gaussian_diag", "gaussian_spherical", "log_normal", "student_t_diag", "product",
)  # fmt: skip

# What is left to `make test-all`: with nothing compiled it takes too long. Parts of tests' identifiers.
SLOW = (
    # kernels in a second precision, with missing cells, or of families that compile for long
    r"^(?!.*test_(simd|special)).*[Ff]loat32", r"check_estimators_(dtypes|pickle)", "test_large_values.py",
    r"tied|spherical|[Ss]tudent|test_noise|test_floor", r"test_families\.py.*(missing-|leads_up|product)",
    r"log_normal|weibull|dirichlet|logistic|von_mises|LogNormal|Weibull|Dirichlet|Logistic|VonMises",
    r"test_mixture\.py.*(product|noise|part|weight_zero_may)", r"test_masked_arrays\.py.*(noise|responses)",
    r"test_estimators\.py.*(Counts|Levels|Flags|Poisson|LatentClass|Bernoulli)", r"test_partial_fit\.py.*(larger|box)",
    "test_sound_files_are_taken", "test_settings_that_no_data_could_teach", "test_negative_binomials_of_any_size",
    "test_exact_starts", "test_shortcuts", r"examples\[(families|extending)", "test_ellipses_of_t",
    "test_warmup_compiles", r"test_hostile_models\.py.*(product|noise|censored|exposed)", "test_poisson_regression",
    # many processes, or many fits
    "test_processes.py", "test_helpers_compile", "test_a_killed_worker", "test_converged_fits_have_little",
    "test_each_call_of_a_fit_fails", "test_killed_at_random", "test_ctrl_c_in_every_phase",
    "test_a_limited_address_space",
)  # fmt: skip


@cache
def _kernels():
    """Names of the cases of the registries, and of the case whose kernels each takes."""
    from tests.cases import CASES
    from tests.family_cases import FAMILIES

    return {case.name: case.name for case in CASES} | {case.name: case.kernels or case.name for case in FAMILIES}


def group_of(nodeid):
    """The kernels that a test takes, as far as its parameters name them, or its file."""
    path, _, test = nodeid.partition("::")
    return next((_kernels()[name] for name in re.split(r"[\[\]-]", test) if name in _kernels()), path)


@pytest.hookimpl(tryfirst=True)  # before pytest chooses by marks
def pytest_collection_modifyitems(config, items):
    for item in items:
        if any(re.search(pattern, item.nodeid) for pattern in SLOW):
            item.add_marker(pytest.mark.slow)
    if hasattr(config, "workerinput"):  # elsewhere tests run in the order they are written in
        groups = [group_of(item.nodeid) for item in items]
        order = {group: i for i, group in enumerate([*LONGEST, *dict(Counter(groups).most_common())][::-1])}
        items[:] = [item for _, item in sorted(zip(groups, items, strict=True), key=lambda pair: -order[pair[0]])]


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config, log):
    if config.getvalue("dist") != "loadscope":
        return None
    from xdist.scheduler import LoadScopeScheduling

    class ByKernels(LoadScopeScheduling):
        def _split_scope(self, nodeid):
            return group_of(nodeid)

    config.option.loadscopereorder = False  # the workers have put the tests in order
    return ByKernels(config, log)

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


def pytest_collection_modifyitems(config, items):
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

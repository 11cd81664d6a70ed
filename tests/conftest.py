"""Which tests run side by side: those that compile the same kernels run one after the other."""

import pytest


def pytest_collection_modifyitems(items):
    for item in items:
        case = getattr(item, "callspec", None) and item.callspec.params.get("case")
        group = f"{item.path.stem} {case}" if case is not None else item.path.stem
        item.add_marker(pytest.mark.xdist_group(group))

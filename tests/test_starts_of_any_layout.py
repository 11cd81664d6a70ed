"""Starts in arrays of any layout and dtype, and in lists, give the bits of plain ones."""

import numpy as np
import pytest

from fastem import GaussianMixture, Mixture
from tests.family_cases import FAMILIES
from tests.test_families import SLOW

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


def _read_only(array):
    array = array.copy()
    array.flags.writeable = False
    return array


LAYOUTS = {
    "fortran": np.asfortranarray,
    "strided": lambda array: np.repeat(array, 2, axis=-1)[..., ::2],
    "backwards": lambda array: np.ascontiguousarray(array[::-1])[::-1],
    "read_only": _read_only,
    "lists": lambda array: array.tolist(),
}


def _mapped(values, change):
    """Values with all their arrays changed, in dicts and lists too."""
    if isinstance(values, dict):
        return {name: _mapped(value, change) for name, value in values.items()}
    if isinstance(values, list):
        return [_mapped(value, change) for value in values]
    return change(np.asarray(values))


def _leaves(values):
    if isinstance(values, tuple):
        return [leaf for value in values for leaf in _leaves(value)]
    return [values]


def _assert_same_bits(a, b):
    for one, two in zip(_leaves(a._fitted()), _leaves(b._fitted()), strict=True):
        np.testing.assert_array_equal(one, two)
    assert a.lower_bounds_ == b.lower_bounds_


@pytest.mark.parametrize(
    "case", [pytest.param(case, marks=pytest.mark.slow if case.name in SLOW else ()) for case in FAMILIES], ids=str
)
def test_parameters_to_start_from(case):
    rows = case.draw(300, np.random.default_rng(0))
    first = Mixture(case.family, 2, random_state=0, max_iter=3, **case.settings).fit(rows)
    names = [name for name in first.family_.attribute_names() if "precisions" not in name]
    start = {name: getattr(first, f"{name}_") for name in names}

    def fit(change):
        settings = {"params_init": _mapped(start, change), "weights_init": change(first.weights_)}
        return Mixture(case.family, 2, max_iter=3, tol=0, **settings).fit(rows)

    plain = fit(np.ascontiguousarray)
    for change in LAYOUTS.values():
        _assert_same_bits(fit(change), plain)


@pytest.mark.parametrize("covariance_type", ["full", "diag"])
def test_starts_of_gaussian_mixtures(covariance_type):
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(300, 5)) + 3 * rng.integers(2, size=(300, 1))
    first = GaussianMixture(2, covariance_type=covariance_type, max_iter=2, random_state=0).fit(rows)

    def fit(change):
        start = {"weights_init": first.weights_, "means_init": first.means_, "precisions_init": first.precisions_}
        return GaussianMixture(2, covariance_type=covariance_type, max_iter=3, **_mapped(start, change)).fit(rows)

    plain = fit(np.ascontiguousarray)
    for change in LAYOUTS.values():
        _assert_same_bits(fit(change), plain)


@pytest.mark.parametrize("dtype", [np.int32, np.float32, bool])
def test_whole_numbers_of_any_type(dtype):
    """Means of 0 and 1, and responsibilities of 0 and 1, which all types hold."""
    rng = np.random.default_rng(0)
    labels = rng.integers(2, size=400)
    rows = rng.normal(size=(400, 2)) + 2 * labels[:, None]
    means = np.array([[0.0, 0.0], [1.0, 1.0]])
    settings = {"max_iter": 3, "tol": 0}
    one, two = (
        GaussianMixture(2, means_init=m, random_state=0, **settings).fit(rows) for m in (means, means.astype(dtype))
    )
    _assert_same_bits(one, two)
    resp = np.eye(2)[labels]
    plain = GaussianMixture(2, init_params=resp, **settings).fit(rows)
    for change in (lambda array: array, *LAYOUTS.values()):
        _assert_same_bits(GaussianMixture(2, init_params=change(resp.astype(dtype)), **settings).fit(rows), plain)
    for given in (labels.astype(np.int16), np.repeat(labels, 3)[::3], labels.tolist(), labels.astype(np.uint64)):
        _assert_same_bits(GaussianMixture(2, init_params=given, **settings).fit(rows), plain)


def test_a_fit_does_not_share_memory_with_its_start():
    means, weights = np.array([[0.0, 0.0], [1.0, 1.0]]), np.array([0.5, 0.5])
    rows = np.random.default_rng(0).normal(size=(50, 2))
    fit = GaussianMixture(
        2, means_init=means, weights_init=weights, precisions_init=np.stack([np.eye(2)] * 2), max_iter=0
    ).fit(rows)
    means[:], weights[:] = 7, 7
    assert fit.means_.max() == 1 and fit.weights_.sum() == 1

"""A Product compiles each kind of part once."""

import numpy as np

from fastem import Mixture
from fastem.families import Gaussian, Poisson, Product
from fastem.kernels import dispatch


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

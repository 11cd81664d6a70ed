"""Covariances that are no covariances."""

from typing import Any, NoReturn

import numpy as np

from fastem.engine.contract import DegenerateError

__all__ = ["raise_singular", "require_positive"]


def require_positive(variances: np.ndarray) -> None:
    """Raise unless all variances are positive and finite, naming the components where they are not."""
    bad = ~((variances > 0) & (variances < np.inf))
    if bad.any():
        raise_singular(np.flatnonzero(bad.reshape(len(bad), -1).any(axis=1)))


def raise_singular(components: Any) -> NoReturn:
    """Raise scikit-learn's error about covariances, with the components' numbers."""
    names = ", ".join(str(k) for k in components)
    raise DegenerateError(
        "Fitting the mixture model failed because some components have ill-defined empirical "
        f"covariance (component {names}; for instance caused by singleton or collapsed samples). "
        "Try to decrease the number of components, increase reg_covar, or scale the input data."
    )

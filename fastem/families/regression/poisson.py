"""Poisson regressions with the logarithm as link."""

import numpy as np

from fastem.families._domain import check_counts, log_factorial
from fastem.families._factors import Factor, Term
from fastem.families.regression.generalised import GeneralisedRegression, PoissonRegressionKernel, RegressionParams

__all__ = ["PoissonRegression"]


class PoissonRegression(GeneralisedRegression):
    __doc__ = f"""Poisson regressions: counts y with the mean ``exp(intercept + coef @ x)``.

    {(GeneralisedRegression.__doc__ or "").partition("canonical link.")[2].strip()}

    Examples
    --------
    >>> import numpy as np
    >>> from fastem import Mixture
    >>> from fastem.families import PoissonRegression
    >>> x = np.repeat([[0.0], [1.0]], 3, axis=0)
    >>> fit = Mixture(PoissonRegression(), tol=1e-12).fit(x, [1, 2, 3, 4, 6, 8])
    >>> np.exp(fit.coefs_).round(4).tolist()
    [[3.0]]
    """

    kernel = PoissonRegressionKernel
    is_discrete = True
    takes_beside = ("offset", "exposure")

    def check_response(self, response: np.ndarray, first_row: int) -> None:
        check_counts(response, first_row)

    def base(self, rows: np.ndarray) -> np.ndarray:
        return -log_factorial(rows[:, -1])

    def base_terms(self, n_features: int) -> Factor:
        return Factor([Term(n_features - 1, None, 1.0, constant=1.0)], [])

    def inverse_link(self, predictors: np.ndarray) -> np.ndarray:
        return np.exp(predictors)

    def variance(self, means: np.ndarray) -> np.ndarray:
        return means

    def draw(self, params: RegressionParams, k: int, rows: np.ndarray, rng: np.random.RandomState) -> np.ndarray:
        return rng.poisson(self.responses(params, rows)[:, k]).astype(np.float64)

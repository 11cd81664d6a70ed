"""Logistic regressions."""

import numpy as np
from scipy.special import expit

from fastem.families._domain import check_values
from fastem.families.regression.generalised import GeneralisedRegression, LogisticKernel, RegressionParams

__all__ = ["LogisticRegression"]


class LogisticRegression(GeneralisedRegression):
    __doc__ = f"""Logistic regressions: y is 1 with probability ``1 / (1 + exp(-intercept - coef @ x))``, else 0.

    {(GeneralisedRegression.__doc__ or "").partition("canonical link.")[2].strip()}

    Examples
    --------
    >>> import numpy as np
    >>> from fastem import Mixture
    >>> from fastem.families import LogisticRegression
    >>> x = np.repeat([[0.0], [1.0]], 4, axis=0)
    >>> fit = Mixture(LogisticRegression(), tol=1e-12).fit(x, [0, 0, 0, 1, 0, 1, 1, 1])
    >>> fit.predict_response([[0.0], [1.0]]).round(4).tolist()
    [0.25, 0.75]
    """

    kernel = LogisticKernel
    is_discrete = True

    def check_response(self, response: np.ndarray, first_row: int) -> None:
        check_values(response, first_row, (response != 0) & (response != 1), "responses must be 0 or 1")

    def inverse_link(self, predictors: np.ndarray) -> np.ndarray:
        return np.asarray(expit(predictors))

    def variance(self, means: np.ndarray) -> np.ndarray:
        return np.asarray(means * (1 - means))

    def draw(self, params: RegressionParams, k: int, rows: np.ndarray, rng: np.random.RandomState) -> np.ndarray:
        return (rng.uniform(size=len(rows)) < self.responses(params, rows)[:, k]).astype(np.float64)

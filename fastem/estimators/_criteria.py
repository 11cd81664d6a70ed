"""Scores of a fitted mixture, and criteria to choose among several."""

import math
from typing import Any

import numpy as np
from sklearn.utils.validation import check_is_fitted

from fastem.engine.cluster import make_data
from fastem.engine.data import accumulate
from fastem.engine.statistics import are_finite
from fastem.estimators._checks import check_weights
from fastem.estimators._results import MixtureResults
from fastem.sources import DoubleSource

__all__ = ["MixtureCriteria"]


class MixtureCriteria(MixtureResults):
    """Log-likelihood and information criteria of rows."""

    def score(self, X: Any, y: Any = None, *, sample_weight: Any = None, **side: Any) -> float:
        """The mean log-density of a row.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features), path or open source
        y : array-like of shape (n_samples,), optional
            Responses, if the components are regressions.
        sample_weight : array-like of shape (n_samples,), optional
        **side
            What is known beside the rows, as in the fit: ``exposure``, ``trials``, ``offset``, ``censored`` or
            ``upper``.

        Returns
        -------
        log_likelihood : float
        """
        return self._log_likelihood(X, y, sample_weight, side)[0]

    def bic(self, X: Any, y: Any = None, *, sample_weight: Any = None, **side: Any) -> float:
        """Bayesian information criterion, ``-2 log L + p log n``: lower is better.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features), path or open source
        y : array-like of shape (n_samples,), optional
            Responses, if the components are regressions.
        sample_weight : array-like of shape (n_samples,), optional
            n is their sum.
        **side
            What is known beside the rows, as in the fit: ``exposure``, ``trials``, ``offset``, ``censored`` or
            ``upper``.

        Returns
        -------
        bic : float
        """
        mean, weight = self._log_likelihood(X, y, sample_weight, side)
        return -2 * mean * weight + self.n_parameters_ * math.log(weight)

    def aic(self, X: Any, y: Any = None, *, sample_weight: Any = None, **side: Any) -> float:
        """Akaike's information criterion, ``-2 log L + 2 p``: lower is better.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features), path or open source
        y : array-like of shape (n_samples,), optional
            Responses, if the components are regressions.
        sample_weight : array-like of shape (n_samples,), optional
        **side
            What is known beside the rows, as in the fit: ``exposure``, ``trials``, ``offset``, ``censored`` or
            ``upper``.

        Returns
        -------
        aic : float
        """
        mean, weight = self._log_likelihood(X, y, sample_weight, side)
        return -2 * mean * weight + 2 * self.n_parameters_

    def icl(self, X: Any, y: Any = None, *, sample_weight: Any = None, **side: Any) -> float:
        """Integrated completed likelihood criterion: lower is better.

        BIC plus twice the doubt about the labels, ``-2 sum log max_k r_ik`` (Biernacki, Celeux
        and Govaert 2000), as mclust computes it, with scikit-learn's sign.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features), path or open source
        y : array-like of shape (n_samples,), optional
            Responses, if the components are regressions.
        sample_weight : array-like of shape (n_samples,), optional
        **side
            What is known beside the rows, as in the fit: ``exposure``, ``trials``, ``offset``, ``censored`` or
            ``upper``.

        Returns
        -------
        icl : float
        """
        check_is_fitted(self)
        source = self._open(X, y, side, reset=False)
        weights = check_weights(sample_weight, source.n_rows)
        doubt = 0.0
        for first, resp in self._inferred(source, "resp", (len(self.weights_),), source.dtype):
            surprise = -np.log(resp.max(axis=1), dtype=np.float64)
            doubt += float(surprise.sum() if weights is None else surprise @ weights[first : first + len(resp)])
        return self.bic(X, y, sample_weight=sample_weight, **side) + 2 * doubt

    def _log_likelihood(self, X: Any, y: Any, sample_weight: Any, side: dict[str, Any]) -> tuple[float, float]:
        """The mean log-density of a row, and the weight of all rows."""
        check_is_fitted(self)
        source = self._open(X, y, side, reset=False)
        weights = check_weights(sample_weight, source.n_rows)
        data = make_data(source, weights, None, self.n_threads, needs_values=False)
        model = self._fitted_model()
        if model.family.is_surveyed:
            model = model.of(model.family.widened(data.look(model.family).reach))
        stats = accumulate(model, self._fitted(), data, self._shape(source))
        if source.dtype == np.float32 and not are_finite(stats.family):
            data = make_data(DoubleSource(source), weights, None, self.n_threads, needs_values=False)
            stats = accumulate(model, self._fitted(), data, self._shape(data.source))
        weight = float(stats.weight)
        return float(stats.log_likelihood) / weight, weight * data.unit

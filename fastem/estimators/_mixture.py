"""How estimators of mixtures are fitted to all rows."""

import time
from numbers import Real
from typing import Any, Self

import numpy as np
from sklearn.utils import check_random_state

from fastem.engine.cluster import make_data
from fastem.engine.contract import DegenerateError, Shape
from fastem.engine.data import Data, accumulate
from fastem.engine.loop import Fit, as_listeners
from fastem.engine.partial_labels import PartialLabels
from fastem.engine.restarts import Runs, WarmUp
from fastem.estimators._checks import check_number, check_weights, explain
from fastem.estimators._input import FamilyModel
from fastem.estimators._partial_fit import PartialFit, restore
from fastem.latent.mixture.deaths import Death, reseeds
from fastem.latent.mixture.growing import Growing
from fastem.latent.mixture.saddle import Saddles
from fastem.latent.mixture.stepwise import StepwiseWarmUp
from fastem.report.verbose import VerboseLines
from fastem.storage.array_file import flatten
from fastem.storage.atomic_write import require_directory
from fastem.storage.checkpoints import Checkpoint, describe

__all__ = ["BaseMixture"]

METHODS_OF_FIT = ("em", "growing", "stepwise")
# Parameters that do not decide on the result of a fit.
_WITHOUT_EFFECT = {"n_threads", "verbose", "verbose_interval", "callbacks"}


class BaseMixture(PartialFit):
    """Base of the mixtures with independent labels."""

    def fit(
        self,
        X: Any,
        y: Any = None,
        *,
        sample_weight: Any = None,
        labels: Any = None,
        unlabelled_weight: float = 1.0,
        method: str = "em",
        checkpoint: Any = None,
        checkpoint_every: float = 60.0,
        client: Any = None,
        exposure: Any = None,
        trials: Any = None,
        offset: Any = None,
        censored: Any = None,
        upper: Any = None,
    ) -> Self:
        """Estimate the parameters by expectation-maximization.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features), path, function or open source
            Data in memory, memory-mapped, in files, in a stream or on a cluster: all that
            `fastem.open` opens. Missing cells are NaN, or null in frames and files of Arrow.
        y : array-like of shape (n_samples,), optional
            Responses, if the components are regressions and the response is not the last column
            of X; ignored by all other mixtures.
        sample_weight : array-like of shape (n_samples,), optional
            Weights of the rows, not negative. A weight of 2 is the same as the row twice, 0 the
            same as no row.
        labels : array-like of shape (n_samples,) or (n_samples, n_components), optional
            What is known of the components: an integer is a row's component, -1 or NaN unknown; or
            booleans, which components a row may belong to.
        unlabelled_weight : float, default=1
            Weight of rows that may belong to all components, beside those about which something
            is known (Nigam et al. 2000, EM-lambda).
        method : {'em', 'growing', 'stepwise'}, default='em'
            What comes before EM on all rows: nothing; EM on growing samples of the rows; two
            passes of stepwise EM. On millions of rows 'growing' saves most passes.
        checkpoint : path, optional
            File to keep the state of the fit in. Where it exists already, the fit goes on from
            it, and gives the same bits as if it had never stopped.
        checkpoint_every : float, default=60
            Seconds between two writes of the checkpoint; 0 writes after each iteration.
        client : distributed.Client, optional
            Cluster to run the passes on. Data of Dask run on the current scheduler without it.
        exposure : array-like of shape (n_samples,) or (n_samples, n_features), optional
            How long, or over how much, the counts of each row were taken, for Poisson and negative
            binomial distributions and Poisson regressions; rates are those of an exposure of 1.
        trials : array-like of shape (n_samples,) or (n_samples, n_features), optional
            Number of trials of each row, for `Binomial`.
        offset : array-like of shape (n_samples,), optional
            What is added to each row's linear predictor, for Poisson and logistic regressions.
        censored : array-like of shape (n_samples,) or (n_samples, n_features), optional
            Which values are censored, for exponential, Weibull, log-normal and gamma distributions: True or 1 where
            the value is known to lie above that in X (right), -1 where it lies between 0 and that (left), False or 0
            where it is known.
        upper : array-like of shape (n_samples,) or (n_samples, n_features), optional
            Upper ends of the intervals that begin at the values in X and hold the true ones (interval censoring), for
            the same distributions. The end is X where the value is known, infinite where nothing else is known.

        Returns
        -------
        self

        Raises
        ------
        ValueError
            If the data are not finite numbers, have fewer rows than components, a covariance
            is not positive definite, or the checkpoint belongs to other data or settings.
        MemoryError
            If the fit cannot fit in memory; raised before anything is computed.
        DataChangedError
            If a file changes during the fit.
        """
        self._check_parameters()
        if method not in METHODS_OF_FIT:
            raise ValueError(f"method must be one of {', '.join(METHODS_OF_FIT)}, not {method!r}.")
        check_number("checkpoint_every", checkpoint_every, Real, 0)
        if checkpoint is not None:
            require_directory(checkpoint, "checkpoint")
        seen = {name: getattr(self, name, None) for name in ("n_features_in_", "feature_names_in_", "categories_")}
        try:
            side = {"exposure": exposure, "trials": trials, "offset": offset, "censored": censored, "upper": upper}
            source = self._open(X, y, side, reset=True)
            shape = self._shape(source)
            weights = check_weights(sample_weight, source.n_rows, self._n_own())
            source = self._code_levels(source, weights)
            allowed = None if labels is None else PartialLabels.of_labels(labels, source.n_rows, self._classes())
            weights = _weigh_down(weights, allowed, unlabelled_weight)
            data = make_data(source, weights, client, self.n_threads, allowed)
            model = self._make_model(data).in_unit(data.unit)
            self._check_size(source, model, shape)
            self._check_start(model, source.n_features)
            warm_up = self._make_warm_up(method, model, data, shape)
            kept = None
            if checkpoint is not None:
                kept = self._make_checkpoint(checkpoint, checkpoint_every, data, method, model, warm_up)
            best = self._run_all(model, data, shape, warm_up, kept)
        except DegenerateError as error:
            restore(self, seen)
            raise explain(error, source) from error
        except BaseException:
            restore(self, seen)
            raise
        self._warn(best)
        return self

    def _classes(self) -> np.ndarray:
        """The label that each component stands for."""
        return np.arange(self._n_own())

    def fit_predict(self, X: Any, y: Any = None, *, sample_weight: Any = None, **side: Any) -> np.ndarray:
        """`fit`, then the labels of the same rows.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features), path or open source
        y : array-like of shape (n_samples,), optional
            Responses, if the components are regressions.
        sample_weight : array-like of shape (n_samples,), optional
        **side
            What `fit` takes beside the rows: ``exposure``, ``trials``, ``offset``, ``censored`` or ``upper``.

        Returns
        -------
        labels : ndarray of shape (n_samples,)
        """
        return self.fit(X, y, sample_weight=sample_weight, **side).predict(X, y, **side)

    def _run_all(
        self, model: FamilyModel, data: Data, shape: Shape, warm_up: WarmUp | None, checkpoint: Checkpoint | None
    ) -> Fit:
        """Run from every start and keep the best; nothing is set before all is done."""
        warm = self._is_warm()
        began = time.perf_counter()
        saddles = Saddles(model, data, shape, self.tol)
        goes_on = self._reach() < np.inf
        runs = Runs(
            model,
            data,
            shape,
            lambda rng: self._starts(model, data, shape, rng, warm),
            several=self.n_init > 1 and not warm,
            previous=self.lower_bound_ if warm else -np.inf,
            tol=self.tol,
            max_iter=self.max_iter,
            listeners=as_listeners(self.callbacks),
            lines=VerboseLines(self.verbose, self.verbose_interval),
            warm_up=warm_up,
            checkpoint=checkpoint,
            reach=self._reach(),
            escape=saddles.escape if goes_on else None,
            look=None if goes_on else saddles.mark,
        )
        best = runs.best(check_random_state(self.random_state))
        final = accumulate(model, best.params, data, shape)
        self._set_fit(model, best, shape.n_features)
        self.log_likelihood_ = float(final.log_likelihood) * data.unit
        self.total_weight_ = float(final.weight) * data.unit
        self.fit_seconds_ = time.perf_counter() - began
        self.deaths_ = [event.component for event in best.events]
        self.saddles_ = best.saddles
        self.__dict__.pop("online_", None)
        return best

    def _reach(self) -> float:
        """What a converged fit may still gain in the mean log-likelihood of a row, as it is projected."""
        return np.inf

    def _make_warm_up(self, method: str, model: FamilyModel, data: Data, shape: Shape) -> WarmUp | None:
        if method == "growing":
            return Growing(model, data, shape, self.tol, self.max_iter)
        if method == "stepwise":
            return StepwiseWarmUp(model, data, shape, self.learning_decay, self.learning_offset)
        return None

    def _make_checkpoint(
        self,
        path: Any,
        every: float,
        data: Data,
        method: str,
        model: FamilyModel,
        warm_up: WarmUp | None,
    ) -> Checkpoint:
        """The checkpoint of a fit with all that decides on its result."""
        params = self.get_params(deep=False)
        settings = {name: describe(value) for name, value in params.items() if name not in _WITHOUT_EFFECT}
        facts = {
            "class": type(self).__name__,
            **settings,
            "method": method,
            "sample_weight": describe(data.weights if len(data.weights) else None),
            "labels": None if data.allowed is None else data.allowed.describe(),
            "data": data.source.fingerprint(),
        }
        if self._is_warm():
            facts["warm start"] = {name: describe(array) for name, array in flatten("", self._fitted()).items()}
        like = model.alike(np.zeros((2, data.source.n_features)))
        like_warm = None if warm_up is None else warm_up.begin(like)
        return Checkpoint(path, every, facts, like, like_warm, reseeds(0), Death)


def _weigh_down(
    weights: np.ndarray | None, allowed: PartialLabels | None, unlabelled_weight: float
) -> np.ndarray | None:
    """Weights of the rows, less of those about whose components nothing is known."""
    check_number("unlabelled_weight", unlabelled_weight, Real, 0)
    if allowed is None or unlabelled_weight == 1:
        return weights
    factors = np.where(allowed.are_known, 1.0, float(unlabelled_weight))
    return factors if weights is None else weights * factors

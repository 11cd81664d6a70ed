"""What estimators of mixtures share: starts, runs, results row by row, criteria."""

import math
import os
import time
import warnings
from abc import ABCMeta, abstractmethod
from collections.abc import Iterator, Sequence
from numbers import Integral, Real
from typing import Any, Self

import numpy as np
from sklearn.base import BaseEstimator, DensityMixin
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted, validate_data

from fastem.checkpoint import Checkpoint, describe
from fastem.cluster import make_data
from fastem.container import flatten, unflatten
from fastem.em import Callback, Data, Fit, StopReason, accumulate, require_finite
from fastem.estimators._checks import check_number, check_weights
from fastem.estimators._runs import Runs
from fastem.latent.labels import DeathPolicy, Mixture, MixtureModel, Output, Shape
from fastem.memory import require_memory
from fastem.online import Growing, Stepwise, StepwiseState, StepwiseWarmUp, WarmUp
from fastem.persistence import save
from fastem.sources import ArraySource, Source, block_rows, is_array_like, is_frame, is_path, open_source, write_npy
from fastem.start import EXACT_ROWS, METHODS, from_responsibilities, responsibilities, sample_size, screen
from fastem.threads import available_threads

__all__ = ["BaseMixture"]

METHODS_OF_FIT = ("em", "growing", "stepwise")
# Parameters that do not decide on the result of a fit.
_WITHOUT_EFFECT = {"n_threads", "verbose", "verbose_interval", "callbacks"}


class BaseMixture(DensityMixin, BaseEstimator, metaclass=ABCMeta):  # type: ignore[misc]  # scikit-learn is untyped
    """Base of the mixtures with independent labels."""

    @abstractmethod
    def _make_model(self, n_components: int) -> MixtureModel:
        """The model that the constructor's arguments describe, with so many components."""

    @abstractmethod
    def _check_start(self, n_features: int) -> None:
        """Raise ValueError if the parameters given to start from are wrong."""

    @abstractmethod
    def _needs_responsibilities(self) -> bool:
        """Whether not all parameters were given to start from."""

    @abstractmethod
    def _override(self, params: Mixture | None) -> Mixture:
        """Starting parameters, those given by the user in place of `params`."""

    @abstractmethod
    def _publish(self, params: Mixture) -> None:
        """Set the attributes that hold the parameters."""

    @abstractmethod
    def _fitted(self) -> Mixture:
        """Parameters from the attributes."""

    # --- fit ----------------------------------------------------------------------------------

    def fit(
        self,
        X: Any,
        y: Any = None,
        *,
        sample_weight: Any = None,
        method: str = "em",
        checkpoint: Any = None,
        checkpoint_every: float = 60.0,
        client: Any = None,
    ) -> Self:
        """Estimate the parameters by expectation-maximization.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features), path, function or open source
            Data in memory, memory-mapped, in files, in a stream or on a cluster: all that
            `fastem.open` opens.
        y : Ignored
            For scikit-learn's conventions.
        sample_weight : array-like of shape (n_samples,), optional
            Weights of the rows, not negative. A weight of 2 is the same as the row twice, 0 the
            same as no row.
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
        seen = {name: getattr(self, name, None) for name in ("n_features_in_", "feature_names_in_")}
        try:
            source = self._open(X, reset=True)
            model = self._make_model(self.n_components)
            shape = self._shape(source)
            self._check_size(source, model, shape)
            self._check_start(source.n_features)
            weights = check_weights(sample_weight, source.n_rows, self.n_components)
            data = make_data(source, weights, client, self.n_threads)
            warm_up = self._make_warm_up(method, model, data, shape)
            kept = None
            if checkpoint is not None:
                kept = self._make_checkpoint(checkpoint, checkpoint_every, data, weights, method, model, warm_up)
            best = self._run_all(model, data, shape, warm_up, kept)
        except BaseException:
            _restore(self, seen)
            raise
        self._warn(best)
        return self

    def fit_predict(self, X: Any, y: Any = None, *, sample_weight: Any = None) -> np.ndarray:
        """`fit`, then the labels of the same rows.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features), path or open source
        y : Ignored
        sample_weight : array-like of shape (n_samples,), optional

        Returns
        -------
        labels : ndarray of shape (n_samples,)
        """
        return self.fit(X, y, sample_weight=sample_weight).predict(X)

    def partial_fit(self, X: Any, y: Any = None, *, sample_weight: Any = None) -> Self:
        """Learn from some more rows and forget them: stepwise expectation-maximization.

        The first call makes a start from its rows, as `fit` does; each call is a step, or, for
        more than a block of 16 MiB, several ones. After `fit` it goes on from the fitted parameters.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features), path, function or open source
            The first time at least as many rows as components; better thousands each time.
        y : Ignored
        sample_weight : array-like of shape (n_samples,), optional

        Returns
        -------
        self
            With `lower_bound_` blended over the steps, `log_likelihood_` as that times the weight
            of these rows, and `n_iter_` the number of calls.

        Raises
        ------
        ValueError
            If the data are not finite numbers, or a covariance is not positive definite; the
            estimator is then as it was before the call.

        References
        ----------
        Cappe and Moulines (2009), On-line expectation-maximization algorithm for latent data
        models.
        """
        self._check_parameters()
        is_first = not hasattr(self, "converged_")
        seen = {name: getattr(self, name, None) for name in ("n_features_in_", "feature_names_in_")}
        try:
            began = time.perf_counter()
            source = self._open(X, reset=is_first)
            model = self._make_model(self.n_components)
            shape = self._shape(source)
            self._check_size(source, model, shape)
            self._check_start(source.n_features)
            data = Data(source, check_weights(sample_weight, source.n_rows, self.n_components if is_first else 1))
            stepwise = Stepwise(model, shape, self.learning_decay, self.learning_offset)
            state = self._stepwise_state(stepwise, data)
            size = min(source.n_rows, block_rows(source.n_features, source.dtype))
            state = stepwise.walk(state, data, size)
            self._set_partial(model, state, data, time.perf_counter() - began)
        except BaseException:
            _restore(self, seen)
            raise
        return self

    def _stepwise_state(self, stepwise: Stepwise, data: Data) -> StepwiseState:
        """What stepwise EM goes on from."""
        if hasattr(self, "converged_"):
            self._check_goes_on("partial_fit", data.source.n_features)
        if hasattr(self, "online_"):
            return self._online_state(stepwise)
        if hasattr(self, "converged_"):
            return stepwise.begin(self._fitted(), step=1, objective=self.lower_bound_)
        rng = check_random_state(self.random_state)
        params, _ = next(self._starts(stepwise.model, data, stepwise.shape, rng, warm=False))
        return stepwise.begin(params, step=0)

    def _check_goes_on(self, what: str, n_features: int) -> Mixture:
        """The fitted parameters, if they are those of the settings and the data."""
        params = self._fitted()
        if len(params.weights) != self.n_components or n_features != self.means_.shape[1]:
            raise ValueError(
                f"{what} goes on with the components and columns of the last fit, which were "
                f"{len(params.weights)} and {self.means_.shape[1]}. "
                "Make a new estimator, or set warm_start=False and fit."
            )
        return params

    def _online_state(self, stepwise: Stepwise) -> StepwiseState:
        like = stepwise.begin(stepwise.model.about(np.zeros(self.n_features_in_)), step=0)
        state: StepwiseState = unflatten("state", like, self.online_)
        return state

    def _set_partial(self, model: MixtureModel, state: StepwiseState, data: Data, seconds: float) -> None:
        was_online = hasattr(self, "online_")
        objective = model.objective(state.stats)
        bounds = [*(self.lower_bounds_ if was_online else []), objective]
        history = self.history_["seconds"] if was_online else np.empty(0)
        fit = Fit(state.params, reason=StopReason.PARTIAL, objectives=bounds, seconds=[*history, seconds])
        fit.changes = np.diff(bounds, prepend=-np.inf).tolist()
        self._set_fit(model, fit, data.source.n_features)
        weight = float(data.weights.sum()) if len(data.weights) else data.source.n_rows
        self.log_likelihood_ = objective * weight
        self.deaths_: list[int] = []
        self.fit_seconds_ = float(np.sum(fit.seconds))
        self.online_ = flatten("state", state)

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "converged_")

    def _run_all(
        self, model: MixtureModel, data: Data, shape: Shape, warm_up: WarmUp | None, checkpoint: Checkpoint | None
    ) -> Fit:
        """Run from every start and keep the best; nothing is set before all is done."""
        warm = self._is_warm()
        began = time.perf_counter()
        runs = Runs(
            model,
            data,
            shape,
            lambda rng: self._starts(model, data, shape, rng, warm),
            several=self.n_init > 1 and not warm,
            previous=self.lower_bound_ if warm else -np.inf,
            tol=self.tol,
            max_iter=self.max_iter,
            callbacks=self._callbacks(),
            verbose=self.verbose,
            verbose_interval=self.verbose_interval,
            warm_up=warm_up,
            checkpoint=checkpoint,
        )
        best, deaths = runs.best(check_random_state(self.random_state))
        final = accumulate(model, best.params, data, shape)
        self._set_fit(model, best, shape.n_features)
        self.log_likelihood_ = float(final.labels.log_likelihood)
        self.fit_seconds_ = time.perf_counter() - began
        self.deaths_ = deaths
        self.__dict__.pop("online_", None)
        return best

    def _is_warm(self) -> bool:
        return bool(self.warm_start) and hasattr(self, "converged_")

    def _make_warm_up(self, method: str, model: MixtureModel, data: Data, shape: Shape) -> WarmUp | None:
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
        weights: np.ndarray | None,
        method: str,
        model: MixtureModel,
        warm_up: WarmUp | None,
    ) -> Checkpoint:
        """The checkpoint of a fit with all that decides on its result."""
        params = self.get_params(deep=False)
        settings = {name: describe(value) for name, value in params.items() if name not in _WITHOUT_EFFECT}
        facts = {
            "class": type(self).__name__,
            **settings,
            "method": method,
            "sample_weight": describe(weights),
            "data": data.source.fingerprint(),
        }
        if self._is_warm():
            facts["warm start"] = {name: describe(array) for name, array in flatten("", self._fitted()).items()}
        like = model.about(np.zeros(data.source.n_features))
        return Checkpoint(path, every, facts, like, None if warm_up is None else warm_up.begin(like))

    def _set_fit(self, model: MixtureModel, fit: Fit, n_features: int) -> None:
        self._publish(fit.params)
        self.converged_ = fit.converged
        assert fit.reason is not None
        self.stop_reason_ = fit.reason.value
        self.n_iter_ = len(fit.objectives)
        self.lower_bound_ = fit.objective
        self.lower_bounds_ = fit.objectives
        self.n_parameters_ = self._count_parameters(model, n_features)
        self.history_ = {
            "objective": np.array(fit.objectives),
            "change": np.array(fit.changes),
            "seconds": np.array(fit.seconds),
        }

    def _count_parameters(self, model: MixtureModel, n_features: int) -> int:
        return model.family.n_parameters(self.n_components, n_features) + self.n_components - 1

    def _warn(self, fit: Fit) -> None:
        if fit.falls:
            warnings.warn(
                f"The log-likelihood fell at iteration {', '.join(map(str, fit.falls))}: the data may be too "
                "badly scaled for their precision. Standardise them, or pass float64.",
                ConvergenceWarning,
                stacklevel=3,
            )
        elif not fit.converged and self.max_iter > 0:
            warnings.warn(
                f"Best performing initialization did not converge: {self.stop_reason_}. Try different init "
                "parameters, or increase max_iter, tol, or check for degenerate data.",
                ConvergenceWarning,
                stacklevel=3,
            )
        if self.deaths_:
            warnings.warn(
                f"Components lost all their data during the fit: {self.deaths_}. They were started again beside "
                "the largest one, or have weight 0 now. Fewer components may describe the data.",
                ConvergenceWarning,
                stacklevel=3,
            )

    def _callbacks(self) -> Sequence[Callback]:
        if self.callbacks is None:
            return ()
        return (self.callbacks,) if callable(self.callbacks) else tuple(self.callbacks)

    # --- starts -------------------------------------------------------------------------------

    def _starts(
        self, model: MixtureModel, data: Data, shape: Shape, rng: np.random.RandomState, warm: bool
    ) -> Iterator[tuple[Mixture, DeathPolicy]]:
        """Starting parameters of each run, with the policy that counts its deaths."""
        if warm:
            yield self._check_goes_on("warm_start", data.source.n_features), DeathPolicy(self.n_components)
        elif not self._needs_responsibilities():
            yield self._override(None), DeathPolicy(self.n_components)
        elif _is_array(self.init_params) or (data.source.n_rows <= EXACT_ROWS and not self.n_screen):
            yield from self._exact_starts(model, data, shape, rng)
        else:
            yield from self._screened_starts(model, data, shape, rng)

    def _exact_starts(
        self, model: MixtureModel, data: Data, shape: Shape, rng: np.random.RandomState
    ) -> Iterator[tuple[Mixture, DeathPolicy]]:
        """Starts from responsibilities of all rows, made as scikit-learn makes them, or given."""
        given = _is_array(self.init_params)
        # Responsibilities that are given do not need the rows in memory, only their number.
        X = np.empty((data.source.n_rows, 0), shape.dtype) if given else data.source.read(0, data.source.n_rows)
        require_finite(X)
        weights = data.weights if len(data.weights) else None
        for _ in range(1 if given else self.n_init):
            policy = DeathPolicy(self.n_components)
            resp = responsibilities(self.init_params, X, self.n_components, rng, weights)
            yield self._override(from_responsibilities(model, data, resp, policy, shape)), policy

    def _screened_starts(
        self, model: MixtureModel, data: Data, shape: Shape, rng: np.random.RandomState
    ) -> Iterator[tuple[Mixture, DeathPolicy]]:
        """The best of several starts on a sample of the rows."""
        rows = data.source.sample_rows(sample_size(self.n_components))
        weights = None
        if len(data.weights):
            rows = rows[data.weights[rows] > 0]
            if len(rows) < self.n_components:  # the weight lies elsewhere
                rows = np.flatnonzero(data.weights)[: sample_size(self.n_components)]
            weights = data.weights[rows]
        X = data.source.take(rows)
        require_finite(X, numbers=rows)
        n_candidates = self.n_screen or self.n_init + 3
        for params in screen(
            model, X, weights, self.init_params, max(n_candidates, self.n_init), self.n_init, rng, shape
        ):
            yield self._override(params), DeathPolicy(self.n_components)

    # --- results row by row -------------------------------------------------------------------

    def predict(self, X: Any, *, out: Any = None) -> Any:
        """The most probable component of each row.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features), path or open source
        out : ndarray of shape (n_samples,) or path, optional
            Where to write; a path becomes a ``.npy`` file, written block by block.

        Returns
        -------
        labels : ndarray of shape (n_samples,)
            int64; memory-mapped if `out` is a path.
        """
        return self._infer(X, out, "labels")

    def predict_proba(self, X: Any, *, out: Any = None) -> Any:
        """The probability of each component for each row.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features), path or open source
        out : ndarray of shape (n_samples, n_components) or path, optional
            Where to write; a path becomes a ``.npy`` file, written block by block.

        Returns
        -------
        resp : ndarray of shape (n_samples, n_components)
            float32 for float32 data, else float64; memory-mapped if `out` is a path.
        """
        return self._infer(X, out, "resp")

    def score_samples(self, X: Any, *, out: Any = None) -> Any:
        """The log-density of each row.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features), path or open source
        out : ndarray of shape (n_samples,) or path, optional
            Where to write; a path becomes a ``.npy`` file, written block by block.

        Returns
        -------
        log_prob : ndarray of shape (n_samples,)
            float64; memory-mapped if `out` is a path.
        """
        return self._infer(X, out, "log_prob")

    def _infer(self, X: Any, out: Any, what: str) -> Any:
        check_is_fitted(self)
        source = self._open(X, reset=False)
        n, k = source.n_rows, len(self.weights_)
        kinds: dict[str, tuple[tuple[int, ...], Any]] = {
            "labels": ((n,), np.dtype(np.int64)),
            "resp": ((n, k), source.dtype),
            "log_prob": ((n,), np.dtype(np.float64)),
        }
        wanted, dtype = kinds[what]
        if is_path(out):
            if source.is_at(out):
                raise ValueError(f"out={str(out)!r} is the file that the data come from.")
            with write_npy(out, wanted, dtype) as append:
                for _, values in self._inferred(source, what, wanted[1:], dtype):
                    append(values)
            return np.load(out, mmap_mode="r")
        if out is None:
            require_memory(
                math.prod(wanted) * dtype.itemsize, f"The result of {wanted} {dtype}", "Give a path as out=."
            )
            out = np.empty(wanted, dtype)
        elif not _takes(out, wanted, dtype):
            raise ValueError(f"out must be a path or a writeable array of shape {wanted} for {dtype}.")
        for first, values in self._inferred(source, what, wanted[1:], dtype):
            out[first : first + len(values)] = values
        return out

    def _inferred(
        self, source: Source, what: str, tail: tuple[int, ...], dtype: np.dtype[Any]
    ) -> Iterator[tuple[int, np.ndarray]]:
        """First row and results of the rows, piece by piece."""
        params = self._fitted()
        k = len(params.weights)
        walk = self._make_model(k).infer(params, self._shape(source))
        nothing = Output(np.empty(0), np.empty((0, k), source.dtype), np.empty(0, np.int64))
        data = Data(source)
        for first, block, _ in data.blocks():
            size = block_rows(max(k, source.n_features), source.dtype)
            for start in range(0, len(block), size):
                rows = block[start : start + size]
                values = np.empty((len(rows), *tail), dtype)
                walk.add(rows, nothing._replace(**{what: values}), data.pace)
                yield first + start, values

    # --- criteria -----------------------------------------------------------------------------

    def score(self, X: Any, y: Any = None, *, sample_weight: Any = None) -> float:
        """The mean log-density of a row.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features), path or open source
        y : Ignored
        sample_weight : array-like of shape (n_samples,), optional

        Returns
        -------
        log_likelihood : float
        """
        log_likelihood, weight = self._log_likelihood(X, sample_weight)
        return log_likelihood / weight

    def bic(self, X: Any, *, sample_weight: Any = None) -> float:
        """Bayesian information criterion, ``-2 log L + p log n``: lower is better.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features), path or open source
        sample_weight : array-like of shape (n_samples,), optional
            n is their sum.

        Returns
        -------
        bic : float
        """
        log_likelihood, weight = self._log_likelihood(X, sample_weight)
        return -2 * log_likelihood + self.n_parameters_ * math.log(weight)

    def aic(self, X: Any, *, sample_weight: Any = None) -> float:
        """Akaike's information criterion, ``-2 log L + 2 p``: lower is better.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features), path or open source
        sample_weight : array-like of shape (n_samples,), optional

        Returns
        -------
        aic : float
        """
        return -2 * self._log_likelihood(X, sample_weight)[0] + 2 * self.n_parameters_

    def icl(self, X: Any, *, sample_weight: Any = None) -> float:
        """Integrated completed likelihood criterion: lower is better.

        BIC plus twice the doubt about the labels, ``-2 sum log max_k r_ik`` (Biernacki, Celeux
        and Govaert 2000), as mclust computes it, with scikit-learn's sign.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features), path or open source
        sample_weight : array-like of shape (n_samples,), optional

        Returns
        -------
        icl : float
        """
        check_is_fitted(self)
        source = self._open(X, reset=False)
        weights = check_weights(sample_weight, source.n_rows)
        doubt = 0.0
        for first, resp in self._inferred(source, "resp", (len(self.weights_),), source.dtype):
            surprise = -np.log(resp.max(axis=1), dtype=np.float64)
            doubt += float(surprise.sum() if weights is None else surprise @ weights[first : first + len(resp)])
        return self.bic(source, sample_weight=sample_weight) + 2 * doubt

    def _log_likelihood(self, X: Any, sample_weight: Any) -> tuple[float, float]:
        check_is_fitted(self)
        source = self._open(X, reset=False)
        data = make_data(source, check_weights(sample_weight, source.n_rows), None, self.n_threads)
        params = self._fitted()
        stats = accumulate(self._make_model(len(params.weights)), params, data, self._shape(source))
        return float(stats.labels.log_likelihood), float(stats.labels.weight)

    def sample(self, n_samples: int = 1) -> tuple[np.ndarray, np.ndarray]:
        """Draw rows from the mixture.

        Parameters
        ----------
        n_samples : int, default=1

        Returns
        -------
        X : ndarray of shape (n_samples, n_features)
            Sorted by component.
        y : ndarray of shape (n_samples,)
            The component of each row.
        """
        check_is_fitted(self)
        if n_samples < 1:
            raise ValueError(f"n_samples must be at least 1, not {n_samples}.")
        rng = check_random_state(self.random_state)
        params = self._fitted()
        family = self._make_model(len(params.weights)).family
        counts = rng.multinomial(n_samples, params.weights)
        draws = [family.sample(params.components, k, int(n), rng) for k, n in enumerate(counts)]
        return np.vstack(draws), np.repeat(np.arange(len(counts)), counts)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the fitted model to a file that `fastem.load` reads.

        Callbacks, and starts given as functions or random generators, are not saved.

        Parameters
        ----------
        path : path
            By convention it ends in ``.fastem``.
        """
        check_is_fitted(self)
        save(self, path)

    # --- checks -------------------------------------------------------------------------------

    def _open(self, X: Any, *, reset: bool) -> Source:
        """The data as a source; arrays are checked as scikit-learn checks them."""
        if is_array_like(X):
            array = validate_data(self, X, reset=reset, dtype="numeric", ensure_all_finite=False)
            source: Source = ArraySource(array)
        else:
            source = open_source(X)
            if is_frame(X):
                validate_data(self, X, reset=reset, skip_check_array=True)
            else:
                self._check_columns(source, reset)
        if source.n_rows < (2 if reset else 1):
            raise ValueError(f"Found {source.n_rows} sample(s): at least {2 if reset else 1} needed.")
        if reset and source.n_rows < self.n_components:
            raise ValueError(
                f"Expected n_samples >= n_components but got n_components = {self.n_components}, "
                f"n_samples = {source.n_rows}."
            )
        return source

    def _check_columns(self, source: Source, reset: bool) -> None:
        """Take over number and names of the columns, or compare them with those of the fit."""
        if source.n_features == 0:
            raise ValueError("The data have no columns.")
        names = None if source.names is None else np.array(source.names, dtype=object)
        if reset:
            self.n_features_in_ = source.n_features
            self.__dict__.pop("feature_names_in_", None)
            if names is not None:
                self.feature_names_in_ = names
            return
        if source.n_features != self.n_features_in_:
            raise ValueError(
                f"X has {source.n_features} features, but {type(self).__name__} is expecting "
                f"{self.n_features_in_} features as input."
            )
        fitted = getattr(self, "feature_names_in_", None)
        if names is not None and fitted is not None and list(names) != list(fitted):
            raise ValueError(
                f"The feature names should match those that were passed during fit, in the same order: "
                f"{', '.join(fitted)}; these data have {', '.join(names)}."
            )

    def _shape(self, source: Source) -> Shape:
        return Shape(source.n_features, source.dtype, available_threads(self.n_threads))

    def _check_size(self, source: Source, model: MixtureModel, shape: Shape) -> None:
        looked_at = source.n_rows if _is_array(self.init_params) else sample_size(self.n_components)
        start = min(source.n_rows, looked_at) * (self.n_components + 2 * source.n_features) * shape.dtype.itemsize
        require_memory(
            model.memory(shape) + (start if self._needs_responsibilities() else 0),
            f"A fit of {self.n_components} components to {source.n_features} features",
            "Use fewer components, fewer features, fewer threads (n_threads=1), or covariance_type='diag'.",
        )

    def _check_parameters(self) -> None:
        at_least = {"n_components": 1, "n_init": 1, "max_iter": 0, "verbose_interval": 1}
        for name, least in at_least.items():
            check_number(name, getattr(self, name), Integral, least)
        for name in ("tol", "reg_covar"):
            check_number(name, getattr(self, name), Real, 0)
        for name in ("n_threads", "n_screen"):
            if getattr(self, name) is not None:
                check_number(name, getattr(self, name), Integral, 1)
        check_number("learning_offset", self.learning_offset, Real, 0)
        check_number("learning_decay", self.learning_decay, Real, 0)
        if not 0.5 < self.learning_decay <= 1:
            raise ValueError(f"learning_decay must be above 0.5 and at most 1, not {self.learning_decay}.")
        if isinstance(self.init_params, str) and self.init_params not in METHODS:
            raise ValueError(
                f"init_params must be one of {', '.join(METHODS)}, a callable or responsibilities, "
                f"not {self.init_params!r}."
            )


def _is_array(init_params: Any) -> bool:
    return not isinstance(init_params, str) and not callable(init_params)


def _restore(model: Any, attributes: dict[str, Any]) -> None:
    """Set attributes back; None means that there was none."""
    for name, value in attributes.items():
        if value is None:
            model.__dict__.pop(name, None)
        else:
            setattr(model, name, value)


def _takes(out: Any, shape: tuple[int, ...], dtype: np.dtype[Any]) -> bool:
    return (
        isinstance(out, np.ndarray)
        and out.shape == shape
        and out.flags.writeable
        and np.can_cast(dtype, out.dtype, "same_kind")
    )

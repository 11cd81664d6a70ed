"""How estimators of mixtures are fitted: starts, runs, rows that come bit by bit."""

import time
import warnings
from abc import abstractmethod
from collections.abc import Iterator, Sequence
from functools import partial
from numbers import Integral, Real
from typing import Any, ClassVar, Self

import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils import check_random_state

from fastem.allowed import Allowed
from fastem.checkpoint import Checkpoint, describe
from fastem.cluster import make_data
from fastem.container import flatten, unflatten
from fastem.em import Callback, Data, Fit, StopReason, accumulate
from fastem.estimators._checks import check_number, check_weights, explain, refuse_masked
from fastem.estimators._fitted import FittedMixture
from fastem.estimators._runs import Runs
from fastem.family import DegenerateError
from fastem.files import require_directory
from fastem.latent.labels import DeathPolicy, MixtureModel, MixtureParams, Shape
from fastem.memory import require_memory
from fastem.online import LARGEST_WEIGHT, Growing, Stepwise, StepwiseState, StepwiseWarmUp, WarmUp
from fastem.sources import ArraySource, Source, block_rows
from fastem.start import (
    EXACT_ROWS,
    METHODS,
    Start,
    features,
    from_responsibilities,
    responsibilities,
    sample_size,
    screen,
)
from fastem.survey import has_missing

__all__ = ["BaseMixture"]

# Starts to compare where nothing is known of the components.
BLIND_STARTS = 20
METHODS_OF_FIT = ("em", "growing", "stepwise")
# Parameters that do not decide on the result of a fit.
_WITHOUT_EFFECT = {"n_threads", "verbose", "verbose_interval", "callbacks"}


class BaseMixture(FittedMixture):
    """Base of the mixtures with independent labels."""

    _start_methods: ClassVar[dict[str, Start]] = METHODS

    @abstractmethod
    def _make_model(self, data: Data) -> MixtureModel:
        """The model that the constructor's arguments describe, for these data."""

    @abstractmethod
    def _check_start(self, model: MixtureModel, n_features: int) -> None:
        """Raise ValueError if the parameters given to start from are wrong."""

    @abstractmethod
    def _needs_responsibilities(self) -> bool:
        """Whether not all parameters were given to start from."""

    @abstractmethod
    def _override(self, model: MixtureModel, params: MixtureParams | None) -> MixtureParams:
        """Starting parameters, those given by the user in place of `params`."""

    @abstractmethod
    def _publish(self, model: MixtureModel, params: MixtureParams) -> None:
        """Set the attributes that hold the parameters."""

    # --- fit ----------------------------------------------------------------------------------

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
            allowed = None if labels is None else Allowed.of_labels(labels, source.n_rows, self._classes())
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
            _restore(self, seen)
            raise explain(error, source) from error
        except BaseException:
            _restore(self, seen)
            raise
        self._warn(best)
        return self

    def _code_levels(self, source: Source, weights: np.ndarray | None) -> Source:
        """Rows with the levels of categorical columns as codes; what they are is kept in an attribute."""
        self.__dict__.pop("_labels", None)
        return source

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

    def partial_fit(self, X: Any, y: Any = None, *, sample_weight: Any = None, **side: Any) -> Self:
        """Learn from some more rows and forget them: stepwise expectation-maximization.

        The first call makes a start from its rows, as `fit` does; each call is a step, or, for
        more than a block of 16 MiB, several ones. After `fit` it goes on from the fitted parameters.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features), path, function or open source
            The first time at least as many rows as components; better thousands each time.
        y : array-like of shape (n_samples,), optional
            Responses, if the components are regressions.
        sample_weight : array-like of shape (n_samples,), optional
        **side
            What `fit` takes beside the rows: ``exposure``, ``trials``, ``offset``, ``censored`` or ``upper``.

        Returns
        -------
        self
            With `lower_bound_` blended over the steps, `log_likelihood_` as that times the weight
            of these rows, `total_weight_` as that of all rows seen, and `n_iter_` the number of calls.
            A prior counts against all rows seen.

        Raises
        ------
        ValueError
            If the data are not finite numbers, hold values that the family has no place for, or a
            covariance is not positive definite; the estimator is then as it was before the call.

        References
        ----------
        Cappe and Moulines (2009), On-line expectation-maximization algorithm for latent data
        models.
        """
        self._check_parameters()
        is_first = not hasattr(self, "converged_")
        seen = {name: getattr(self, name, None) for name in ("n_features_in_", "feature_names_in_", "categories_")}
        try:
            began = time.perf_counter()
            source = self._open(X, y, side, reset=is_first)
            shape = self._shape(source)
            weights = check_weights(sample_weight, source.n_rows, self._n_own() if is_first else 1)
            source = self._code_levels(source, weights) if is_first else source
            data = Data(source, weights, needs_values=is_first)
            model = self._make_model(data) if is_first else self._fitted_model()
            model = self._with_room(model, data).in_unit(data.unit)
            self._check_size(source, model, shape)
            self._check_start(model, source.n_features)
            stepwise = Stepwise(model, shape, self.learning_decay, self.learning_offset)
            state = self._stepwise_state(stepwise, data)
            size = min(source.n_rows, block_rows(source.n_features, source.dtype))
            state = stepwise.walk(state, data, size)
            self._set_partial(stepwise, state, data, time.perf_counter() - began)
        except DegenerateError as error:
            _restore(self, seen)
            raise explain(error, source) from error
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
            weight = float(self.total_weight_)
            return stepwise.begin(self._fitted(), 1, weight, log_likelihood=self.log_likelihood_ / weight)
        rng = check_random_state(self.random_state)
        params, _ = next(self._starts(stepwise.model, data, stepwise.shape, rng, warm=False))
        return stepwise.begin(params, step=0, weight=0.0)

    def _with_room(self, model: MixtureModel, data: Data) -> MixtureModel:
        """The model of `partial_fit`, with room for what these rows hold and for what may come."""
        return model

    def _check_goes_on(self, what: str, n_features: int) -> MixtureParams:
        """The fitted parameters, if they are those of the settings and the data."""
        params = self._fitted()
        fitted = self._fitted_model().n_components, self._n_columns()
        if fitted != (self._n_components(), n_features):
            raise ValueError(
                f"{what} goes on with the components and columns of the last fit, which were "
                f"{fitted[0]} and {fitted[1]}. "
                "Make a new estimator, or set warm_start=False and fit."
            )
        return params

    def _online_state(self, stepwise: Stepwise) -> StepwiseState:
        state: StepwiseState = unflatten("state", stepwise.empty(), self.online_)
        return state

    def _set_partial(self, stepwise: Stepwise, state: StepwiseState, data: Data, seconds: float) -> None:
        was_online = hasattr(self, "online_")
        objective = stepwise.objective(state)
        bounds = [*(self.lower_bounds_ if was_online else []), objective]
        history = self.history_["seconds"] if was_online else np.empty(0)
        fit = Fit(state.params, reason=StopReason.PARTIAL, objectives=bounds, seconds=[*history, seconds])
        fit.changes = np.diff(bounds, prepend=-np.inf).tolist()
        self._set_fit(stepwise.model, fit, data.source.n_features)
        self.log_likelihood_ = objective * data.weight
        self.total_weight_ = float(state.weight[0])
        self.deaths_: list[int] = []
        self.saddles_: list[int] = []
        self.fit_seconds_ = float(np.sum(fit.seconds))
        self.online_ = flatten("state", state)

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
            reach=self._reach(),
        )
        best, deaths = runs.best(check_random_state(self.random_state))
        final = accumulate(model, best.params, data, shape)
        self._set_fit(model, best, shape.n_features)
        self.log_likelihood_ = float(final.labels.log_likelihood) * data.unit
        self.total_weight_ = float(final.labels.weight) * data.unit
        self.fit_seconds_ = time.perf_counter() - began
        self.deaths_ = deaths
        self.saddles_ = best.saddles
        self.__dict__.pop("online_", None)
        return best

    def _reach(self) -> float:
        """What a converged fit may still gain in the mean log-likelihood of a row, as it is projected."""
        return np.inf

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
            "sample_weight": describe(data.weights if len(data.weights) else None),
            "labels": None if data.allowed is None else data.allowed.describe(),
            "data": data.source.fingerprint(),
        }
        if self._is_warm():
            facts["warm start"] = {name: describe(array) for name, array in flatten("", self._fitted()).items()}
        like = model.about(np.zeros((2, data.source.n_features)))
        return Checkpoint(path, every, facts, like, None if warm_up is None else warm_up.begin(like))

    def _set_fit(self, model: MixtureModel, fit: Fit, n_features: int) -> None:
        self._publish(model, fit.params)
        self.converged_ = fit.converged
        assert fit.reason is not None
        self.stop_reason_ = fit.reason.value
        self.n_iter_ = len(fit.objectives)
        self.lower_bound_ = fit.objective
        self.lower_bounds_ = fit.objectives
        self.n_parameters_ = self._count_parameters(model, n_features)
        self.at_floor_ = [(int(k), int(j)) for k, j in np.argwhere(model.family.at_floor(fit.params.components))]
        self.history_ = {
            "objective": np.array(fit.objectives),
            "change": np.array(fit.changes),
            "seconds": np.array(fit.seconds),
        }

    def _count_parameters(self, model: MixtureModel, n_features: int) -> int:
        return model.family.n_parameters(model.n_components, n_features) + model.n_components - 1

    def _n_components(self) -> int:
        """Components that the settings ask for."""
        return int(self.n_components)

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
        if self.at_floor_:
            warnings.warn(self._describe_floor(), ConvergenceWarning, stacklevel=3)
        if self.deaths_:
            warnings.warn(
                f"Components lost all their data during the fit: {self.deaths_}. They were started again beside "
                "the largest one, or have weight 0 now. Fewer components may describe the data.",
                ConvergenceWarning,
                stacklevel=3,
            )

    def _describe_floor(self) -> str:
        """Which components are as narrow as they may be, and where."""
        names = getattr(self, "feature_names_in_", None)
        found = [f"{k} in column {j if names is None or j >= len(names) else names[j]}" for k, j in self.at_floor_[:5]]
        more = f" and {len(self.at_floor_) - 5} more" if len(self.at_floor_) > 5 else ""
        return (
            f"Components are as narrow as the data can tell: {', '.join(found)}{more}. Their rows are equal there, or "
            "follow from other columns, and the likelihood has no other bound. Fewer components, a prior or a larger "
            "floor may describe the data better."
        )

    def _callbacks(self) -> Sequence[Callback]:
        if self.callbacks is None:
            return ()
        return (self.callbacks,) if callable(self.callbacks) else tuple(self.callbacks)

    def _check_record(self) -> None:
        """Raise ValueError unless what is told of a loaded model's fit is sound."""
        kinds = {
            "converged_": bool, "stop_reason_": str, "lower_bound_": float, "log_likelihood_": float,
            "total_weight_": float, "fit_seconds_": float, "n_parameters_": int, "n_iter_": int,
        }  # fmt: skip
        missing = [name for name in (*kinds, "at_floor_", "saddles_", "deaths_") if not hasattr(self, name)]
        if missing or set(self.history_) != {"objective", "change", "seconds"}:
            raise ValueError(f"attributes or parts of history_ are missing: {', '.join(missing)}")
        for name, kind in kinds.items():
            if type(getattr(self, name)) is not kind:
                raise ValueError(f"{name} is {getattr(self, name)!r}.")
        if not 0 < self.total_weight_ <= LARGEST_WEIGHT:
            raise ValueError(f"total_weight_ is {self.total_weight_!r}.")
        self._check_history()
        if hasattr(self, "online_"):
            self._check_online()
        n_components, n_columns = self._fitted_model().n_components, self._n_columns()
        self.deaths_ = _whole_numbers("deaths_", self.deaths_, n_components)
        self.saddles_ = _whole_numbers("saddles_", self.saddles_, self.n_iter_ + 1)
        pairs = np.reshape(self.at_floor_, (-1, 2))
        components = _whole_numbers("at_floor_", pairs[:, 0], n_components)
        self.at_floor_ = list(zip(components, _whole_numbers("at_floor_", pairs[:, 1], n_columns), strict=True))
        if hasattr(self, "feature_names_in_"):
            names = self.__dict__["feature_names_in_"]
            if (
                not isinstance(names, list)
                or len(names) != self.n_features_in_
                or not all(isinstance(name, str) for name in names)
            ):
                raise ValueError("feature_names_in_ are not the names of the features.")
            self.__dict__["feature_names_in_"] = np.array(names, dtype="O")

    def _check_history(self) -> None:
        arrays = {"lower_bounds_": np.asarray(self.lower_bounds_, dtype=np.float64)}
        arrays |= {name: np.asarray(values, dtype=np.float64) for name, values in self.history_.items()}
        for name, values in arrays.items():
            if values.shape != (self.n_iter_,):
                raise ValueError(f"{name} does not belong to n_iter_.")
            if np.isnan(values).any():
                raise ValueError(f"{name} is not a number.")
        self.lower_bounds_ = arrays.pop("lower_bounds_").tolist()
        self.history_ = arrays

    def _check_online(self) -> None:
        """Raise ValueError unless rows that come can be added to what is known of those before."""
        shape = Shape(self._n_columns(), np.dtype(np.float64), 1)
        model = self._fitted_model()
        like = Stepwise(model, shape, self.learning_decay, self.learning_offset).empty()
        wanted = {name: array.shape for name, array in flatten("state", like).items()}
        if "state.weight" not in self.online_:
            raise ValueError("online_ lacks the weight of the rows seen, as in files of older versions: fit again.")
        if {name: np.shape(array) for name, array in self.online_.items()} != wanted:
            raise ValueError("online_ does not belong to the parameters.")
        self.online_ = {name: np.asarray(array, dtype=np.float64) for name, array in self.online_.items()}
        if not all(np.isfinite(array).all() for array in self.online_.values()):
            raise ValueError("online_ is not finite.")
        state: StepwiseState = unflatten("state", like, self.online_)
        labels = state.stats.labels
        if not (state.step[0] >= 1 and state.weight[0] > 0 and labels.weight > 0 and (labels.counts >= 0).all()):
            raise ValueError("online_ has steps, weights or counts that are negative or 0.")
        if not all(map(np.array_equal, _leaves(state.params), _leaves(self._fitted()))):
            raise ValueError("online_ has other parameters than the model.")

    # --- starts -------------------------------------------------------------------------------

    def _starts(
        self, model: MixtureModel, data: Data, shape: Shape, rng: np.random.RandomState, warm: bool
    ) -> Iterator[tuple[MixtureParams, DeathPolicy]]:
        """Starting parameters of each run, with the policy that counts its deaths."""
        if warm:
            params = self._check_goes_on("warm_start", data.source.n_features)
            model.family.check_params(params.components, model.n_components, data.source.n_features)
            yield params, DeathPolicy(model.n_components)
        elif not self._needs_responsibilities():
            yield self._override(model, None), DeathPolicy(model.n_components)
        elif _is_array(self.init_params) or (
            data.source.n_rows <= EXACT_ROWS and not self.n_screen and not _needs_several(model)
        ):
            yield from self._exact_starts(model, data, shape, rng)
        else:
            yield from self._screened_starts(model, data, shape, rng)

    def _exact_starts(
        self, model: MixtureModel, data: Data, shape: Shape, rng: np.random.RandomState
    ) -> Iterator[tuple[MixtureParams, DeathPolicy]]:
        """Starts from responsibilities of all rows, made as scikit-learn makes them, or given."""
        given = _is_array(self.init_params)
        override = partial(self._override, model)
        # Responsibilities that are given do not need the rows in memory, only their number.
        X = np.empty((data.source.n_rows, 0), shape.dtype) if given else features(model, data)
        for _ in range(1 if given else self.n_init):
            policy = DeathPolicy(model.n_components)
            resp = responsibilities(self.init_params, X, model, rng, data, self._start_methods)
            yield from_responsibilities(model, data, resp, policy, shape, override), policy

    def _screened_starts(
        self, model: MixtureModel, data: Data, shape: Shape, rng: np.random.RandomState
    ) -> Iterator[tuple[MixtureParams, DeathPolicy]]:
        """The best of several starts on a sample of the rows."""
        size = sample_size(self._n_own())
        rows = data.sample_rows(size, least=self._n_own())
        if data.allowed is not None:
            known = data.allowed.are_known & (data.weights > 0 if len(data.weights) else True)
            rows = np.union1d(rows, np.flatnonzero(known)[:size])
        X = data.source.take(rows)
        if has_missing(model.family, X, 0, numbers=rows):
            data.look(model.family)
        sample = data.part(ArraySource(X), rows)
        extra = BLIND_STARTS if _needs_several(model) else 3
        n_candidates = max(self.n_screen or self.n_init + extra, self.n_init)
        for params in screen(
            model, sample, self.init_params, n_candidates, self.n_init, rng, shape, partial(self._override, model),
            self._start_methods,
        ):  # fmt: skip
            yield params, DeathPolicy(model.n_components)

    # --- checks -------------------------------------------------------------------------------

    def _check_size(self, source: Source, model: MixtureModel, shape: Shape) -> None:
        looked_at = source.n_rows if _is_array(self.init_params) else sample_size(self._n_own())
        start = min(source.n_rows, looked_at) * (self._n_own() + 2 * source.n_features) * shape.dtype.itemsize
        require_memory(
            model.memory(shape) + (start if self._needs_responsibilities() else 0),
            f"A fit of {self._n_own()} components to {source.n_features} features",
            "Use fewer components, fewer features, fewer threads (n_threads=1), or covariance_type='diag'.",
        )

    def _check_parameters(self) -> None:
        for name, value in self.get_params().items():
            refuse_masked(name, value)
        at_least = {"n_components": 1, "n_init": 1, "max_iter": 0, "verbose_interval": 1}
        for name, least in at_least.items():
            check_number(name, getattr(self, name), Integral, least)
        check_number("tol", self.tol, Real, 0)
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


def _weigh_down(weights: np.ndarray | None, allowed: Allowed | None, unlabelled_weight: float) -> np.ndarray | None:
    """Weights of the rows, less of those about whose components nothing is known."""
    check_number("unlabelled_weight", unlabelled_weight, Real, 0)
    if allowed is None or unlabelled_weight == 1:
        return weights
    factors = np.where(allowed.are_known, 1.0, float(unlabelled_weight))
    return factors if weights is None else weights * factors


def _needs_several(model: MixtureModel) -> bool:
    """Whether one start is not enough, on few rows either."""
    return model.n_components > 1 and (model.family.starts_blind or model.family.is_ordered)


def _is_array(init_params: Any) -> bool:
    return not isinstance(init_params, str) and not callable(init_params)


def _whole_numbers(name: str, values: Any, end: int) -> list[int]:
    """Whole numbers from 0 to `end`, not included; raises ValueError."""
    array = np.asarray(values)
    if array.ndim != 1 or (array.size and (array.dtype.kind not in "iu" or array.min() < 0 or array.max() >= end)):
        raise ValueError(f"{name} are not whole numbers from 0 to {end - 1}.")
    return [int(value) for value in array]


def _leaves(values: Any) -> list[np.ndarray]:
    return [leaf for value in values for leaf in _leaves(value)] if isinstance(values, tuple) else [values]


def _restore(model: Any, attributes: dict[str, Any]) -> None:
    """Set attributes back; None means that there was none."""
    for name, value in attributes.items():
        if value is None:
            model.__dict__.pop(name, None)
        else:
            setattr(model, name, value)

"""Rows that come bit by bit: stepwise EM."""

import time
from abc import abstractmethod
from numbers import Integral, Real
from typing import Any, Self

import numpy as np
from sklearn.utils import check_random_state

from fastem.engine.contract import DegenerateError, Shape
from fastem.engine.data import Data
from fastem.engine.loop import Fit, StopReason
from fastem.estimators._checks import check_number, check_weights, explain, refuse_masked
from fastem.estimators._input import FamilyModel
from fastem.estimators._record import FitRecord
from fastem.estimators._starts import MixtureStarts, is_array
from fastem.kernels.memory import require_memory
from fastem.latent.mixture.start import METHODS, sample_size
from fastem.latent.mixture.stepwise import Stepwise, StepwiseState
from fastem.sources import Source, block_rows
from fastem.storage.array_file import flatten, unflatten

__all__ = ["PartialFit", "restore"]


class PartialFit(FitRecord, MixtureStarts):
    """`partial_fit`, and what it checks before it begins, as `fit` does."""

    @abstractmethod
    def _make_model(self, data: Data) -> FamilyModel:
        """The model that the constructor's arguments describe, for these data."""

    def _code_levels(self, source: Source, weights: np.ndarray | None) -> Source:
        """Rows with the levels of categorical columns as codes; what they are is kept in an attribute."""
        self.__dict__.pop("_labels", None)
        return source

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
            restore(self, seen)
            raise explain(error, source) from error
        except BaseException:
            restore(self, seen)
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
        begun = next(self._starts(stepwise.model, data, stepwise.shape, rng, warm=False))
        return stepwise.begin(begun.params, step=0, weight=0.0)

    def _with_room(self, model: FamilyModel, data: Data) -> FamilyModel:
        """The model of `partial_fit`, with room for what these rows hold and for what may come."""
        return model

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
        self.deaths_ = []
        self.saddles_ = []
        self.fit_seconds_ = float(np.sum(fit.seconds))
        self.online_ = flatten("state", state)

    def _check_record(self) -> None:
        super()._check_record()
        if hasattr(self, "online_"):
            self._check_online()

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
        stats = state.stats
        if not (state.step[0] >= 1 and state.weight[0] > 0 and stats.weight > 0 and (stats.counts >= 0).all()):
            raise ValueError("online_ has steps, weights or counts that are negative or 0.")
        if not all(map(np.array_equal, _leaves(state.params), _leaves(self._fitted()))):
            raise ValueError("online_ has other parameters than the model.")

    # --- checks -------------------------------------------------------------------------------

    def _check_size(self, source: Source, model: FamilyModel, shape: Shape) -> None:
        looked_at = source.n_rows if is_array(self.init_params) else sample_size(self._n_own())
        start = min(source.n_rows, looked_at) * (self._n_own() + 2 * source.n_features) * shape.dtype.itemsize
        require_memory(
            model.bytes_needed(shape) + (start if self._needs_responsibilities() else 0),
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


def _leaves(values: Any) -> list[np.ndarray]:
    return [leaf for value in values for leaf in _leaves(value)] if isinstance(values, tuple) else [values]


def restore(model: Any, attributes: dict[str, Any]) -> None:
    """Set attributes back; None means that there was none."""
    for name, value in attributes.items():
        if value is None:
            model.__dict__.pop(name, None)
        else:
            setattr(model, name, value)

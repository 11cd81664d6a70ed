"""One's own EM: an E-step and an M-step as functions, on all that the engine has."""

import time
import warnings
from collections.abc import Callable
from numbers import Integral, Real
from typing import Any, Self

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils import check_random_state

from fastem.engine.cluster import make_data
from fastem.engine.contract import Shape
from fastem.engine.data import accumulate
from fastem.engine.loop import Callback, Fit, Iteration, as_listeners
from fastem.engine.restarts import Runs
from fastem.engine.trees import Tree
from fastem.engine.units import begins_of
from fastem.estimators._checks import check_number, check_weights
from fastem.latent.steps import StepsModel, StepSums
from fastem.report.verbose import VerboseLines
from fastem.sources import ArraySource, open_source
from fastem.storage.array_file import flatten
from fastem.storage.atomic_write import require_directory
from fastem.storage.checkpoints import Checkpoint, describe

__all__ = ["EM"]

# What a converged fit may still gain, in units of tol.
_REACH = 10


class EM(BaseEstimator):  # type: ignore[misc]  # scikit-learn is untyped
    """One's own expectation-maximization, from an E-step that gives sums and an M-step that takes them.

    Parameters, and sums, are numbers, arrays, or tuples, NamedTuples, lists and dicts of them, nested as one likes;
    all numbers become float64. The functions may be compiled by Numba.

    Parameters
    ----------
    e_step : callable
        ``e_step(rows, params)`` returns sums over rows, shape (m, d), for given parameters: a dict, or NamedTuple, with
        the item, or field, ``log_likelihood``, and whatever the M-step needs. The sums of two sets of rows must add up
        to those of both. With an argument ``weights`` it gets a weight of each row, shape (m,), by which each row's
        part is to be multiplied; with an argument ``units`` the rows at which units begin, with their number at the
        end, shape (u + 1,). Without data it is ``e_step(params)``.
    m_step : callable
        ``m_step(sums, params)`` returns the parameters of the largest expected log-likelihood, in the form of `start`.
    start : params or callable
        Parameters to start from, or a function of a ``numpy.random.RandomState`` that returns some.
    log_prior : callable, optional
        ``log_prior(params)``, the log of a prior density, if `m_step` gives the mode of the posterior.
    tol : float, default=1e-8
        The fit has converged when the mean log-likelihood of a row, or without data the log-likelihood, changes by
        less, and by the rate at which its changes shrink is projected to gain no more than ten times as much.
    max_iter : int, default=1000
        Largest number of iterations of a run.
    n_init : int, default=1
        Number of runs from different starts; the best one is kept.
    random_state : int, RandomState instance or None, default=None
        What `start` gets, if it is a function.
    verbose, verbose_interval : int
        As in `fastem.GaussianMixture`.
    callbacks : callable or sequence of callables, optional
        Called with a `fastem.Iteration` after each iteration; a true result stops the fit.

    Attributes
    ----------
    params_ : params
        The estimated parameters, in the form of `start`.
    sums_ : sums
        What the E-step gives for them.
    log_likelihood_ : float
        Of all rows, under these parameters.
    lower_bound_ : float
        The mean log-likelihood of a row before the last M-step, with the prior's share.
    lower_bounds_ : list of float
        The same of each iteration.
    converged_ : bool
        Whether the fit converged, and the likelihood never fell by more than rounding explains.
    stop_reason_ : str
    n_iter_ : int
    total_weight_ : float
        Weight of all rows, 1 without data.
    history_ : dict of ndarray
        ``"objective"``, ``"change"`` and ``"seconds"`` of each iteration.
    fit_seconds_ : float
    n_features_in_ : int
        Number of columns, if there are data.

    References
    ----------
    Dempster, Laird and Rubin (1977), Maximum likelihood from incomplete data via the EM algorithm.

    Examples
    --------
    Genetic linkage: 125 animals are of one of two kinds that cannot be told apart.

    >>> from fastem import EM
    >>> def e_step(theta):
    ...     hidden = 125 * theta / (2 + theta)
    ...     cells = [(2 + theta) / 4, (1 - theta) / 4, (1 - theta) / 4, theta / 4]
    ...     return {"log_likelihood": np.log(cells) @ [125, 18, 20, 34], "hidden": hidden}
    >>> def m_step(sums, theta):
    ...     return (sums["hidden"] + 34) / (sums["hidden"] + 34 + 18 + 20)
    >>> import numpy as np
    >>> round(EM(e_step, m_step, start=0.5).fit().params_, 6)
    0.626821
    """

    def __init__(
        self,
        e_step: Callable[..., Any],
        m_step: Callable[..., Any],
        start: Any,
        *,
        log_prior: Callable[..., float] | None = None,
        tol: float = 1e-8,
        max_iter: int = 1000,
        n_init: int = 1,
        random_state: Any = None,
        verbose: int = 0,
        verbose_interval: int = 10,
        callbacks: Any = None,
    ):
        self.e_step = e_step
        self.m_step = m_step
        self.start = start
        self.log_prior = log_prior
        self.tol = tol
        self.max_iter = max_iter
        self.n_init = n_init
        self.random_state = random_state
        self.verbose = verbose
        self.verbose_interval = verbose_interval
        self.callbacks = callbacks

    def fit(
        self,
        X: Any = None,
        y: None = None,
        *,
        sample_weight: Any = None,
        units: Any = None,
        checkpoint: Any = None,
        checkpoint_every: float = 60.0,
        client: Any = None,
    ) -> Self:
        """Estimate the parameters.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features), path, function or open source, optional
            All that `fastem.open` opens; the E-step gets some rows at a time, float32 if the data are, else float64,
            whatever they hold. Default: no data, where the E-step knows them.
        y : ignored
            Present since scikit-learn's pipelines pass it.
        sample_weight : array-like of shape (n_samples,), optional
            Weights of the rows, not negative, for an E-step that takes ``weights``.
        units : array-like, optional
            Rows that are not to be cut apart: lengths of units, or an identifier of each row.
        checkpoint, checkpoint_every, client
            As in `fastem.GaussianMixture.fit`.

        Returns
        -------
        self

        Raises
        ------
        ValueError
            If the sums do not add up, change their shape or lack the log-likelihood, if parameters change their
            shape, or the log-likelihood is not finite.
        """
        self._check_parameters()
        began = time.perf_counter()
        if checkpoint is not None:
            require_directory(checkpoint, "checkpoint")
        source = ArraySource(np.zeros((1, 1))) if X is None else open_source(X)
        if X is not None:
            self.n_features_in_ = source.n_features
        size = (source.n_rows, source.n_features)
        for what, number in zip(("sample", "feature"), size, strict=True):
            if number == 0:
                raise ValueError(f"Found 0 {what}(s) (shape={size}) while a minimum of 1 is required.")
        weights = check_weights(sample_weight, source.n_rows)
        begins = None if units is None else begins_of(units, source.n_rows)
        data = make_data(source, weights, client, None, needs_values=False, units=begins, is_checked=True)
        rng = check_random_state(self.random_state)
        first = self._begin(check_random_state(0))
        model = StepsModel(self.e_step, self.m_step, self.log_prior, Tree.of(first, "start"), X is not None, data.unit)
        self._require(model, sample_weight, units)
        shape = Shape(source.n_features, source.dtype, 1)
        model.sums = model.tried(source, first, begins)
        runs = Runs(
            model,
            data,
            shape,
            lambda rng: (Fit(model.params.leaves(self._begin(rng), "start")) for _ in range(self.n_init)),
            several=self.n_init > 1,
            tol=self.tol,
            max_iter=self.max_iter,
            listeners=[_Listener(callback, model.params) for callback in as_listeners(self.callbacks)],
            lines=VerboseLines(self.verbose, self.verbose_interval),
            checkpoint=None if checkpoint is None else self._checkpoint(checkpoint, checkpoint_every, data, model),
            reach=_REACH * float(self.tol),
        )
        best = runs.best(rng)
        self._publish(model, best, accumulate(model, best.params, data, shape), data.unit)
        self.fit_seconds_ = time.perf_counter() - began
        self._warn(best)
        return self

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        return tags

    # --- settings -----------------------------------------------------------------------------

    def _check_parameters(self) -> None:
        for name in ("e_step", "m_step"):
            if not callable(getattr(self, name)):
                raise TypeError(f"{name} must be a function, not {getattr(self, name)!r}.")
        for name, least in {"max_iter": 0, "n_init": 1, "verbose_interval": 1}.items():
            check_number(name, getattr(self, name), Integral, least)
        check_number("tol", self.tol, Real, 0)
        if self.n_init > 1 and not callable(self.start):
            raise ValueError("n_init starts are all the same where start is no function of a random state.")

    @staticmethod
    def _require(model: StepsModel, sample_weight: Any, units: Any) -> None:
        """Raise ValueError if the E-step does not take what is given beside the rows."""
        for name, value, argument in (("sample_weight", sample_weight, "weights"), ("units", units, "units")):
            if value is not None and argument not in model.beside:
                raise ValueError(
                    f"{name} is given, and the E-step has no argument {argument!r}: define it as "
                    f"e_step(rows, params, {argument})."
                )

    def _begin(self, rng: np.random.RandomState) -> Any:
        return self.start(rng) if callable(self.start) else self.start

    def _checkpoint(self, path: Any, every: float, data: Any, model: StepsModel) -> Checkpoint:
        facts = {
            "class": "EM",
            **{name: describe(getattr(self, name)) for name in ("e_step", "m_step", "log_prior")},
            "start": describe(self.start) if callable(self.start) else _describe_params(model, self.start),
            **{name: describe(getattr(self, name)) for name in ("tol", "max_iter", "n_init", "random_state")},
            "sample_weight": describe(data.weights if len(data.weights) else None),
            "units": describe(data.units),
            "data": data.source.fingerprint() if model.has_rows else None,
        }
        return Checkpoint(path, every, facts, model.params.like, None, None, tuple)

    # --- results ------------------------------------------------------------------------------

    def _publish(self, model: StepsModel, fit: Fit, final: StepSums, unit: float) -> None:
        assert fit.reason is not None
        self.params_ = model.params.build(fit.params)
        self.sums_ = model.sums.build(model.scaled(final))
        self.log_likelihood_ = float(final.log_likelihood) * unit
        self.total_weight_ = float(final.weight) * unit
        self.converged_ = fit.converged
        self.stop_reason_ = fit.reason.value
        self.n_iter_ = len(fit.objectives)
        self.lower_bound_ = fit.objective
        self.lower_bounds_ = fit.objectives
        self.history_ = fit.history

    def _warn(self, fit: Fit) -> None:
        if fit.falls:
            warnings.warn(
                f"The log-likelihood fell at iteration {', '.join(map(str, fit.falls[:5]))}: the M-step does not give "
                "the largest expected log-likelihood, the E-step's sums belong to other parameters, or a prior is "
                "missing as log_prior.",
                ConvergenceWarning,
                stacklevel=3,
            )
        elif not fit.converged and self.max_iter > 0:
            warnings.warn(
                f"The fit did not converge: {self.stop_reason_}. Increase max_iter or tol.",
                ConvergenceWarning,
                stacklevel=3,
            )


class _Listener:
    """A callback of the user's, who gets parameters in the user's form."""

    def __init__(self, callback: Callback, params: Tree):
        self.callback, self.params = callback, params
        if hasattr(callback, "during_pass"):
            self.during_pass = callback.during_pass

    def __call__(self, iteration: Iteration) -> Any:
        return self.callback(iteration._replace(params=self.params.build(iteration.params)))


def _describe_params(model: StepsModel, params: Any) -> dict[str, Any]:
    """What tells parameters from others."""
    leaves = model.params.leaves(params, "start")
    return {name: describe(array) for name, array in flatten("start", leaves).items()}

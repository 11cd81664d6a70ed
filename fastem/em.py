"""One's own EM: an E-step and an M-step as functions, on all that the engine has."""

import inspect
import time
import warnings
from collections.abc import Callable
from functools import cached_property
from numbers import Integral, Real
from typing import Any, NamedTuple, Self

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils import check_random_state

from fastem.engine.cluster import make_data
from fastem.engine.contract import Block, Shape, Step
from fastem.engine.data import accumulate
from fastem.engine.loop import Callback, Fit, Iteration, as_listeners
from fastem.engine.restarts import Runs
from fastem.engine.statistics import add, are_finite
from fastem.engine.trees import Leaves, Tree
from fastem.engine.units import begins_of
from fastem.estimators._checks import check_number, check_weights
from fastem.kernels.launches import Launches
from fastem.kernels.tiles import tile_rows
from fastem.report.verbose import VerboseLines
from fastem.sources import ArraySource, Source, open_source, read_only
from fastem.storage.array_file import flatten
from fastem.storage.atomic_write import require_directory
from fastem.storage.checkpoints import Checkpoint, describe

__all__ = ["EM"]

# What a converged fit may still gain, in units of tol.
_REACH = 10
# Bytes of the rows that an E-step gets at a time, as far as units let.
_PIECE_BYTES = 8 * 2**20
# Rows by which is tried whether sums add up, and how well they must.
_TRIED_ROWS = 1000
_ROUNDING = 1e-6


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
        first = self.start(check_random_state(0)) if callable(self.start) else self.start
        model = _Model(self.e_step, self.m_step, self.log_prior, Tree.of(first, "start"), X is not None, data.unit)
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
    def _require(model: "_Model", sample_weight: Any, units: Any) -> None:
        """Raise ValueError if the E-step does not take what is given beside the rows."""
        for name, value, argument in (("sample_weight", sample_weight, "weights"), ("units", units, "units")):
            if value is not None and argument not in model.beside:
                raise ValueError(
                    f"{name} is given, and the E-step has no argument {argument!r}: define it as "
                    f"e_step(rows, params, {argument})."
                )

    def _begin(self, rng: np.random.RandomState) -> Any:
        return self.start(rng) if callable(self.start) else self.start

    def _checkpoint(self, path: Any, every: float, data: Any, model: "_Model") -> Checkpoint:
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

    def _publish(self, model: "_Model", fit: Fit, final: "_Sums", unit: float) -> None:
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


# --- the model --------------------------------------------------------------------------------


class _Sums(NamedTuple):
    """Sums over rows: log-likelihood, weight, and all that the E-step gave, by leaves."""

    log_likelihood: np.ndarray
    weight: np.ndarray
    given: Leaves


class _AnyRows:
    """Rows that hold whatever they hold."""

    is_surveyed = False
    takes_missing = True

    def check(self, rows: np.ndarray, first_row: int) -> None:
        """All is well."""

    def base(self, rows: np.ndarray) -> None:
        """The E-step gives whole densities."""

    def reach(self, rows: np.ndarray) -> np.ndarray:
        """There are no tables."""
        return np.empty(0)

    def widened(self, reach: np.ndarray) -> Self:
        """There are no tables."""
        return self


class _Model:
    """Two functions as a `Model` of `fastem.engine.contract`."""

    def __init__(
        self,
        e_step: Callable[..., Any],
        m_step: Callable[..., Any],
        log_prior: Callable[..., float] | None,
        params: Tree,
        has_rows: bool,
        unit: float,
    ):
        self.e_step, self.m_step, self.log_prior = e_step, m_step, log_prior
        self.params, self.has_rows, self.unit = params, has_rows, unit
        self.sums = Tree.of({"log_likelihood": 0.0}, "sums")  # until some are known
        self.domain = _AnyRows()

    @cached_property
    def beside(self) -> set[str]:
        """What the E-step takes beside rows and parameters."""
        function = getattr(self.e_step, "py_func", self.e_step)
        return {"weights", "units"} & set(inspect.signature(function).parameters)

    def start_pass(self, params: Leaves, about: Leaves, shape: Shape, missing: bool) -> "_Pass":
        return _Pass(self, params, shape)

    def objective(self, stats: _Sums, params: Leaves) -> float:
        prior = 0.0 if self.log_prior is None else float(self.log_prior(self.params.build(params)))
        return float((stats.log_likelihood + prior / self.unit) / stats.weight)

    def recentre(self, stats: _Sums, about: Leaves, shape: Shape) -> None:
        """Moments are the E-step's own affair."""

    def maximize(self, stats: _Sums, about: Leaves, memory: None) -> Step:
        found = self.m_step(self.sums.build(self.scaled(stats)), self.params.build(about))
        return Step(self.params.leaves(found, "what m_step returns"))

    def scaled(self, stats: _Sums) -> Leaves:
        """Sums in the user's unit of weight."""
        return stats.given if self.unit == 1 else tuple(self.unit * leaf for leaf in stats.given)

    def given(self, rows: np.ndarray, weights: np.ndarray, units: np.ndarray | None, params: Any) -> Any:
        """What the E-step gives for some rows."""
        if not self.has_rows:
            return self.e_step(params)
        beside: dict[str, np.ndarray] = {}
        if "weights" in self.beside:
            beside["weights"] = weights if len(weights) else read_only(np.ones(len(rows), rows.dtype))
        if "units" in self.beside:
            beside["units"] = np.arange(len(rows) + 1) if units is None else units
        return self.e_step(rows, params, **beside)

    def tried(self, source: Source, params: Any, begins: np.ndarray | None) -> Tree:
        """The form of the sums, once it is seen on some rows that they add up.

        Raises
        ------
        ValueError
            If they do not, or lack the log-likelihood.
        """
        params = self.params.build(self.params.leaves(params, "start"))
        places = np.arange(source.n_rows + 1) if begins is None else begins
        n_units = max(1, int(np.searchsorted(places, _TRIED_ROWS, side="right")) - 1)
        rows = read_only(source.take(np.arange(places[n_units])))
        none = np.empty(0, rows.dtype)
        whole = self.given(rows, none, None if begins is None else places[: n_units + 1], params)
        tree = Tree.of(whole, "what e_step returns")
        if "log_likelihood" not in tree.paths:
            raise ValueError(
                f"e_step must return the log-likelihood as 'log_likelihood', in a dict or NamedTuple, and returns "
                f"{', '.join(tree.paths) or 'a number'}."
            )
        if n_units > 1 and self.has_rows:
            half = n_units // 2
            cut = places[half]
            upper = None if begins is None else places[half : n_units + 1] - cut
            first = self.given(rows[:cut], none, None if begins is None else places[: half + 1], params)
            second = self.given(rows[cut:], none, upper, params)
            name = "what e_step returns for fewer rows"
            _require_additive(tree, *(tree.leaves(part, name) for part in (whole, first, second)))
        return tree


class _Pass:
    """A walk over the rows in pieces that do not depend on how the data come in blocks."""

    def __init__(self, model: _Model, params: Leaves, shape: Shape):
        self.model, self.shape = model, shape
        self.params = model.params.build(params)
        self.size = max(1, _PIECE_BYTES // (max(1, shape.n_features) * shape.dtype.itemsize))
        self.waiting: list[Block] = []
        self.sums: _Sums | None = None

    def add(self, block: Block, launches: Launches) -> None:
        """Add rows; those that may belong to a piece with rows to come wait for them."""
        units = np.arange(len(block.rows) + 1) if block.units is None else block.units
        pieces = (block.first_row + units[:-1]) // self.size
        if self.waiting and pieces[0] != self.waiting[-1].first_row // self.size:
            self._give()
        cuts = units[np.append(0, 1 + np.flatnonzero(np.diff(pieces)))]
        for begin, end in zip(cuts, np.append(cuts[1:], len(block.rows)), strict=True):
            if begin:
                self._give()
            low, high = np.searchsorted(units, [begin, end])
            some = slice(int(begin), int(end))
            self.waiting.append(
                Block(
                    block.first_row + int(units[high - 1]),  # of the last unit, which tells the piece
                    block.rows[some],
                    block.weights[some],
                    units=units[low : high + 1] - begin,
                )
            )
        # sources fill their blocks anew
        self.waiting[-1] = self.waiting[-1]._replace(rows=self.waiting[-1].rows.copy())
        if launches.after_launch is not None:
            launches.after_launch(len(block.rows) / tile_rows(self.shape.dtype))

    def _give(self) -> None:
        """Add the sums of the piece whose rows wait."""
        ends = np.cumsum([0, *(len(block.rows) for block in self.waiting)])
        rows = _joined([block.rows for block in self.waiting])
        weights = _joined([block.weights for block in self.waiting])
        units = np.concatenate([b.units[:-1] + end for b, end in zip(self.waiting, ends[:-1], strict=True)])  # type: ignore[index]
        units = np.append(units, len(rows))
        self.waiting = []
        tree = self.model.sums
        found = tree.leaves(self.model.given(rows, weights, units, self.params), "what e_step returns")
        if not are_finite(found):
            wrong = next(path for path, leaf in zip(tree.paths, found, strict=True) if not np.isfinite(leaf).all())
            raise ValueError(f"The sum {wrong!r} of e_step is not finite for {self.params!r}.")
        weight = np.array(weights.sum(dtype=np.float64) if len(weights) else float(len(rows)))
        sums = _Sums(found[tree.paths.index("log_likelihood")], weight, found)
        self.sums = sums if self.sums is None else add(self.sums, sums)

    def is_finite(self) -> bool:
        """Sums that are not are an error already."""
        return True

    def finish(self) -> _Sums:
        """The sums over all rows."""
        if self.waiting:
            self._give()
        assert self.sums is not None
        return self.sums


def _joined(parts: list[np.ndarray]) -> np.ndarray:
    return read_only(parts[0] if len(parts) == 1 else np.concatenate(parts))


def _require_additive(tree: Tree, whole: Leaves, first: Leaves, second: Leaves) -> None:
    for path, all_rows, a, b in zip(tree.paths, whole, first, second, strict=True):
        if not np.isfinite(all_rows).all():
            raise ValueError(f"The sum {path!r} of e_step is not finite for the start: it is {_short(all_rows)}.")
        scale = np.abs(a) + np.abs(b) + np.abs(all_rows)
        if not np.all(np.abs(a + b - all_rows) <= _ROUNDING * np.max(scale, initial=1e-300)):
            raise ValueError(
                f"The sum {path!r} of e_step does not add up: two halves of the rows give {_short(a)} and {_short(b)}, "
                f"all of them {_short(all_rows)}. Return sums over rows, not means, and divide in m_step."
            )


class _Listener:
    """A callback of the user's, who gets parameters in the user's form."""

    def __init__(self, callback: Callback, params: Tree):
        self.callback, self.params = callback, params
        if hasattr(callback, "during_pass"):
            self.during_pass = callback.during_pass

    def __call__(self, iteration: Iteration) -> Any:
        return self.callback(iteration._replace(params=self.params.build(iteration.params)))


def _describe_params(model: _Model, params: Any) -> dict[str, Any]:
    """What tells parameters from others."""
    leaves = model.params.leaves(params, "start")
    return {name: describe(array) for name, array in flatten("start", leaves).items()}


def _short(leaf: np.ndarray) -> str:
    text = np.array2string(leaf, threshold=6, precision=6)
    return text if len(text) <= 60 else text[:57] + "..."

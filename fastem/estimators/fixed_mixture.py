"""Mixtures of known densities: only the weights are estimated."""

import copy
import os
import time
import warnings
from collections.abc import Iterator, Sequence
from numbers import Integral, Real
from typing import Any, Self

import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted

from fastem.engine.cluster import make_data
from fastem.engine.data import Data, accumulate
from fastem.engine.loop import Fit, as_listeners
from fastem.engine.restarts import Runs
from fastem.estimators._checks import are_mixture_weights, check_number, check_weights, refuse_masked
from fastem.estimators._densities import DensitySource, draws, restored, stored
from fastem.estimators._input import FamilyModel
from fastem.estimators._record import FitRecord
from fastem.families.fixed import Fixed, FixedParams
from fastem.kernels.memory import available_memory
from fastem.latent.mixture.contract import MixtureParams
from fastem.latent.mixture.weights import Gain, WeightsModel, gain
from fastem.report.verbose import VerboseLines
from fastem.sources import ArraySource, Source
from fastem.storage.atomic_write import require_directory
from fastem.storage.checkpoints import Checkpoint, describe
from fastem.storage.model_files import save
from fastem.storage.registry import storable

__all__ = ["FixedMixture"]


@storable
class FixedMixture(FitRecord):
    """Mixture of given densities, of which the weights are estimated, with a certified optimality gap.

    The log-likelihood is concave in the weights. With ``D_k = mean_i f_k(x_i) / f(x_i)`` no weights
    are better than the present ones by more than ``max_k D_k - 1`` in the mean log-likelihood of
    a row, so a fit knows how good it is.

    Parameters
    ----------
    components : sequence
        Of each component a function of rows (n, d) that returns log-densities (n,), or an object
        with such a method `logpdf` or `logpmf` (as of scipy.stats) or `score_samples` (as of this
        library and scikit-learn). To `sample` the mixture they need a method `rvs` or `sample` too.
    tol : float, default=1e-6
        The fit has converged when the optimality gap is smaller.
    max_iter : int, default=10000
        Largest number of iterations.
    weights_init : array-like of shape (K,), optional
        Weights to start from, all positive; default: equal ones.
    random_state : int, RandomState instance or None, default=None
        Seed of `sample`.
    n_threads : int, optional
        Threads to use; default: all that the machine grants.
    verbose, verbose_interval, callbacks
        As in `fastem.GaussianMixture`.

    Attributes
    ----------
    weights_ : ndarray of shape (K,)
        The weights; they sum to 1.
    optimality_gap_ : float
        What the best weights could add to the mean log-likelihood of a row, at most.
    log_likelihood_, lower_bound_, lower_bounds_, n_iter_, converged_, stop_reason_, history_, n_parameters_
        As in `fastem.GaussianMixture`; the last iteration finds that the gap is small, and leaves the weights.
    fit_seconds_, total_weight_, n_features_in_
        As in `fastem.GaussianMixture`.

    Examples
    --------
    >>> import numpy as np
    >>> from scipy.stats import norm
    >>> from fastem import FixedMixture
    >>> X = np.r_[np.full(30, -5.0), np.full(70, 5.0)][:, None]
    >>> FixedMixture([norm(-5), norm(5)]).fit(X).weights_.round(3).tolist()
    [0.3, 0.7]
    """

    def __init__(
        self,
        components: Sequence[Any],
        *,
        tol: float = 1e-6,
        max_iter: int = 10_000,
        weights_init: Any = None,
        random_state: Any = None,
        n_threads: int | None = None,
        verbose: int = 0,
        verbose_interval: int = 10,
        callbacks: Any = None,
    ):
        self.components = components
        self.tol = tol
        self.max_iter = max_iter
        self.weights_init = weights_init
        self.random_state = random_state
        self.n_threads = n_threads
        self.verbose = verbose
        self.verbose_interval = verbose_interval
        self.callbacks = callbacks

    def fit(
        self,
        X: Any,
        y: Any = None,
        *,
        sample_weight: Any = None,
        checkpoint: Any = None,
        checkpoint_every: float = 60.0,
        client: Any = None,
    ) -> Self:
        """Estimate the weights.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features), path, function or open source
            All that `fastem.open` opens.
        y : Ignored
        sample_weight : array-like of shape (n_samples,), optional
            Weights of the rows, not negative.
        checkpoint, checkpoint_every, client
            As in `fastem.GaussianMixture.fit`; densities that run on a cluster must be picklable.

        Returns
        -------
        self

        Raises
        ------
        ValueError
            If a row has density 0 under all components, or a density is NaN; it names the row.
        """
        self._check_parameters()
        check_number("checkpoint_every", checkpoint_every, Real, 0)
        if checkpoint is not None:
            require_directory(checkpoint, "checkpoint")
        began = time.perf_counter()
        opened = self._open(X, None, {}, reset=True)
        is_local = client is None and opened.on_cluster(list) is None
        source = self._cached(opened) if is_local else opened
        data = make_data(source, check_weights(sample_weight, source.n_rows), client, self.n_threads)
        model, shape = self._fitted_model(), self._shape(source)
        kept = None
        if checkpoint is not None:
            kept = self._make_checkpoint(checkpoint, checkpoint_every, opened, data)
        runs = Runs(
            model,
            data,
            shape,
            self._starts,
            several=False,
            tol=self.tol,
            max_iter=self.max_iter,
            listeners=as_listeners(self.callbacks),
            lines=VerboseLines(self.verbose, self.verbose_interval),
            checkpoint=kept,
            bound=lambda fit: float(fit.memory.largest),
        )
        best = runs.best(check_random_state(self.random_state))
        final = accumulate(model, best.params, data, shape)
        self._set_fit(model, best, shape.n_features)
        self.optimality_gap_ = gain(final, best.params)
        self.log_likelihood_ = float(final.log_likelihood) * data.unit
        self.total_weight_ = float(final.weight) * data.unit
        self.deaths_: list[int] = []
        self.saddles_: list[int] = []
        self.fit_seconds_ = time.perf_counter() - began
        self._warn(best)
        return self

    def _check_parameters(self) -> None:
        refuse_masked("weights_init", self.weights_init)
        check_number("tol", self.tol, Real, 0)
        for name in ("max_iter", "verbose_interval"):
            check_number(name, getattr(self, name), Integral, 1)
        if not len(self.components):
            raise ValueError("components is empty: a mixture needs at least one density.")

    def _make_checkpoint(self, path: Any, every: float, source: Source, data: Data) -> Checkpoint:
        facts = {
            "class": "FixedMixture",
            **{name: describe(getattr(self, name)) for name in ("tol", "max_iter", "weights_init")},
            "sample_weight": describe(data.weights if len(data.weights) else None),
            "data": source.fingerprint(),
        }
        return Checkpoint(path, every, facts, self._params(np.empty(0)), None, Gain(np.empty(0)), tuple)

    def _publish(self, model: FamilyModel, params: MixtureParams) -> None:
        self.weights_ = params.weights

    def _warn(self, fit: Fit) -> None:
        if not fit.converged:
            warnings.warn(
                f"The weights could still gain {self.optimality_gap_:.2g} in the mean log-likelihood: increase "
                "max_iter or tol.",
                ConvergenceWarning,
                stacklevel=3,
            )

    @property
    def n_components(self) -> int:
        """Number of components."""
        return len(self.components)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the fitted model to a file that `fastem.load` reads.

        Parameters
        ----------
        path : path
            By convention it ends in ``.fastem``.

        Raises
        ------
        TypeError
            If a component is neither a fitted model of this library nor a distribution of scipy.stats with its
            parameters (of one variable, or ``multivariate_normal``): no file holds functions.
        """
        check_is_fitted(self)
        save(self._as_stored(), path)

    def _as_stored(self) -> Self:
        """The model with components as files hold them."""
        twin = copy.copy(self)
        twin.components = [stored(component, k) for k, component in enumerate(self.components)]
        return twin

    def _check_loaded(self) -> None:
        """Raise ValueError unless components and attributes are what a fit could have left."""
        self.components = [restored(component) for component in self.components]
        self._check_parameters()
        check_number("n_features_in_", self.n_features_in_, Integral, 1)
        k, weights = len(self.components), np.asarray(self.weights_, dtype=np.float64)
        if not are_mixture_weights(weights, k):
            raise ValueError(f"weights_ are not {k} numbers that are not negative and sum to 1.")
        if type(self.optimality_gap_) is not float or not self.optimality_gap_ >= 0:
            raise ValueError(f"optimality_gap_ is {self.optimality_gap_!r}.")
        self._check_record()

    def _starts(self, rng: np.random.RandomState) -> Iterator[Fit]:
        """The beginning of the only run; `rng` is for draws alone."""
        yield Fit(self._params(self._first_weights()), memory=Gain(np.array(np.inf)))

    def _first_weights(self) -> np.ndarray:
        k = len(self.components)
        if self.weights_init is None:
            return np.full(k, 1 / k)
        weights = np.array(self.weights_init, dtype=np.float64)
        if not are_mixture_weights(weights, k) or not (weights > 0).all():
            raise ValueError(f"weights_init must be {k} positive numbers that sum to 1, not {weights}.")
        return weights

    def _fitted_model(self) -> FamilyModel:
        return WeightsModel(Fixed(), len(self.components), float(self.tol))

    def _fitted(self) -> MixtureParams:
        return self._params(self.weights_)

    @staticmethod
    def _params(weights: np.ndarray) -> MixtureParams:
        return MixtureParams(weights, FixedParams(np.arange(len(weights), dtype=np.float64)))

    def _open(self, X: Any, y: Any, side: dict[str, Any], *, reset: bool) -> Source:
        return DensitySource(super()._open(X, y, side, reset=reset), self.components)

    def _cached(self, source: Source) -> Source:
        """The log-densities in memory, if there is room: they are the same in each iteration."""
        if source.n_rows * source.n_features * 8 > available_memory() / 4:
            return source
        return ArraySource(source.read(0, source.n_rows))

    def impute(self, X: Any, y: Any = None, *, random_state: Any = None, out: Any = None, **side: Any) -> Any:
        """Densities that are given do not tell what is missing."""
        raise NotImplementedError("Densities that are given do not tell what is missing.")

    def _draw(self, k: int, n: int, rng: np.random.RandomState) -> np.ndarray:
        return draws(self.components[k], k, n, rng)

"""Mixtures of known densities: only the weights are estimated."""

import copy
import inspect
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from numbers import Integral, Real
from typing import Any, Self

import numpy as np
from sklearn.exceptions import ConvergenceWarning

from fastem.engine.cluster import make_data
from fastem.engine.data import accumulate
from fastem.estimators._checks import check_number, check_weights, refuse_masked
from fastem.estimators._fitted import FittedMixture
from fastem.estimators._input import FamilyModel
from fastem.families.fixed import Fixed, FixedParams
from fastem.kernels.memory import available_memory
from fastem.latent.mixture.contract import MixtureParams
from fastem.latent.mixture.model import MixtureModel
from fastem.sources import ArraySource, RowwiseSource, Source

__all__ = ["FixedMixture"]


class FixedMixture(FittedMixture):
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

    Attributes
    ----------
    weights_ : ndarray of shape (K,)
        The weights; they sum to 1.
    optimality_gap_ : float
        What the best weights could add to the mean log-likelihood of a row, at most.
    log_likelihood_, lower_bounds_, n_iter_, converged_, n_parameters_, fit_seconds_, n_features_in_
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
    ):
        self.components = components
        self.tol = tol
        self.max_iter = max_iter
        self.weights_init = weights_init
        self.random_state = random_state
        self.n_threads = n_threads

    def fit(self, X: Any, y: Any = None, *, sample_weight: Any = None) -> Self:
        """Estimate the weights.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features), path or open source
        y : Ignored
        sample_weight : array-like of shape (n_samples,), optional

        Returns
        -------
        self

        Raises
        ------
        ValueError
            If a row has density 0 under all components, or a density is NaN; it names the row.
        """
        refuse_masked("weights_init", self.weights_init)
        check_number("tol", self.tol, Real, 0)
        check_number("max_iter", self.max_iter, Integral, 1)
        if not len(self.components):
            raise ValueError("components is empty: a mixture needs at least one density.")
        began = time.perf_counter()
        weights = self._start()
        source = self._cached(self._open(X, None, {}, reset=True))
        data = make_data(source, check_weights(sample_weight, source.n_rows), None, self.n_threads)
        model, numbers = self._fitted_model(), FixedParams(np.arange(len(weights), dtype=np.float64))
        bounds: list[float] = []
        while True:
            params = MixtureParams(weights, numbers)
            stats = accumulate(model, params, data, self._shape(source))
            bounds.append(model.objective(stats, params))
            shares = stats.counts / stats.weight
            positive = weights > 0
            gap = float(np.max(shares[positive] / weights[positive])) - 1
            if gap < self.tol or len(bounds) > self.max_iter:
                break
            weights = shares / shares.sum()
        self.weights_ = weights
        self.optimality_gap_ = max(gap, 0.0)
        self.converged_ = gap < self.tol
        self.lower_bounds_ = bounds
        self.lower_bound_ = bounds[-1]
        self.n_iter_ = len(bounds) - 1
        self.log_likelihood_ = float(stats.log_likelihood)
        self.n_parameters_ = len(weights) - 1
        self.fit_seconds_ = time.perf_counter() - began
        if not self.converged_:
            warnings.warn(
                f"The weights could still gain {gap:.2g} in the mean log-likelihood: increase max_iter or tol.",
                ConvergenceWarning,
                stacklevel=2,
            )
        return self

    @property
    def n_components(self) -> int:
        """Number of components."""
        return len(self.components)

    def save(self, path: Any) -> None:
        """Densities are functions, which no file of fastem holds: keep `weights_`, or use pickle."""
        raise NotImplementedError("Densities are functions: keep weights_, or use pickle.")

    def _start(self) -> np.ndarray:
        k = len(self.components)
        if self.weights_init is None:
            return np.full(k, 1 / k)
        weights = np.array(self.weights_init, dtype=np.float64)
        if weights.shape != (k,) or not (weights > 0).all() or not np.isclose(weights.sum(), 1, rtol=0, atol=1e-6):
            raise ValueError(f"weights_init must be {k} positive numbers that sum to 1, not {weights}.")
        return weights

    def _fitted_model(self) -> FamilyModel:
        return MixtureModel(Fixed(), len(self.components))

    def _fitted(self) -> MixtureParams:
        return MixtureParams(self.weights_, FixedParams(np.arange(len(self.weights_), dtype=np.float64)))

    def _open(self, X: Any, y: Any, side: dict[str, Any], *, reset: bool) -> Source:
        return _DensitySource(super()._open(X, y, side, reset=reset), self.components)

    def _cached(self, source: Source) -> Source:
        """The log-densities in memory, if there is room: they are the same in each iteration."""
        if source.n_rows * source.n_features * 8 > available_memory() / 4:
            return source
        return ArraySource(source.read(0, source.n_rows))

    def impute(self, X: Any, y: Any = None, *, random_state: Any = None, out: Any = None, **side: Any) -> Any:
        """Densities that are given do not tell what is missing."""
        raise NotImplementedError("Densities that are given do not tell what is missing.")

    def _draw(self, k: int, n: int, rng: np.random.RandomState) -> np.ndarray:
        component = self.components[k]
        if hasattr(component, "rvs"):
            draws = component.rvs(size=n, random_state=rng)
        elif not hasattr(component, "sample"):
            raise TypeError(f"Component {k} has no method to draw from it: neither rvs nor sample.")
        elif "random_state" in (known := inspect.signature(component.sample).parameters):
            draws = component.sample(n, random_state=rng)
        elif "rng" in known:
            draws = component.sample(n, rng=np.random.default_rng(rng.randint(2**31)))
        else:
            model = copy.copy(component)
            model.random_state = rng
            draws = model.sample(n)
        return np.reshape(draws[0] if isinstance(draws, tuple) else draws, (n, -1))


class _DensitySource(RowwiseSource):
    """Log-densities of the rows of another source under each component."""

    def __init__(self, source: Source, components: Sequence[Any], first_row: int = 0):
        super().__init__(source)
        self.components, self.first_row = components, first_row
        self.n_features, self.names = len(components), None
        self.dtype = np.dtype(np.float64)

    def _own_facts(self) -> dict[str, Any]:
        return {"components": [repr(component) for component in self.components]}

    def _wrapper(self, rows: Any) -> Callable[[Source], Source]:
        first_row = self.first_row + (rows.start if isinstance(rows, slice) else 0)
        return partial(_DensitySource, components=self.components, first_row=first_row)

    @contextmanager
    def reading(self) -> Iterator[Any]:
        with self.source.reading() as fill_rows:

            def fill(first: int, out: np.ndarray) -> None:
                rows = np.empty((len(out), self.source.n_features), self.source.dtype)
                fill_rows(first, rows)
                for k, component in enumerate(self.components):
                    out[:, k] = np.maximum(_log_density(component, rows, k), -1e30)
                nowhere = (out <= -1e30).all(axis=1)
                if nowhere.any():
                    row = self.first_row + first + int(np.argmax(nowhere))
                    raise ValueError(f"Row {row} of X has density 0 under all components: add one that covers it.")

            yield fill


def _log_density(component: Any, rows: np.ndarray, k: int) -> np.ndarray:
    names = ("logpdf", "logpmf", "score_samples")
    function = next((getattr(component, name) for name in names if hasattr(component, name)), component)
    given = function(rows)
    values = np.where(np.ma.getmaskarray(given), np.nan, np.ma.getdata(given)).astype(np.float64)
    if values.shape == (len(rows), 1):
        values = values[:, 0]
    if values.shape != (len(rows),):
        raise ValueError(f"Component {k} must give log-densities of shape (n,), but gave {values.shape}.")
    if not (values < np.inf).all():
        wrong = int(np.argmin(values < np.inf))
        raise ValueError(
            f"Component {k} must give log-densities that are finite or -inf, but gave {values[wrong]} for the row "
            f"{rows[wrong]}."
        )
    return values

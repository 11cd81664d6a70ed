"""Gaussian mixtures: scikit-learn's interface on fastem's engine."""

from numbers import Integral, Real
from typing import Any

import numpy as np
from sklearn.utils.validation import check_array, check_is_fitted

from fastem.engine.data import Data
from fastem.engine.statistics import as_kernels_read
from fastem.estimators._checks import are_mixture_weights, check_number
from fastem.estimators._input import FamilyModel
from fastem.estimators._mixture import BaseMixture
from fastem.families import GAUSSIANS as FAMILIES
from fastem.families.gaussian.family import GaussianFamily, GaussianParams
from fastem.latent.mixture.contract import MixtureParams
from fastem.latent.mixture.model import MixtureModel
from fastem.latent.mixture.start import SKLEARN_METHODS
from fastem.storage.registry import storable

__all__ = ["GaussianMixture"]


@storable
class GaussianMixture(BaseMixture):
    """Mixture of Gaussians, fitted by expectation-maximization.

    A drop-in for ``sklearn.mixture.GaussianMixture``: the parameters and attributes of that class
    mean the same here. Beside it there are weights of rows, files as input and output, callbacks,
    the history of the fit, and speed.

    Parameters
    ----------
    n_components : int, default=1
        Number of components K.
    covariance_type : {'full', 'tied', 'diag', 'spherical'}, default='full'
        Each component its own matrix, one matrix for all, variances of each feature, or one
        variance a component.
    tol : float, default=1e-3
        The fit has converged when the mean log-likelihood of a row changes by less.
    reg_covar : float, default=1e-6
        Added to the diagonal of the covariances.
    max_iter : int, default=100
        Largest number of iterations of a run.
    n_init : int, default=1
        Number of runs; the one with the best log-likelihood is kept.
    init_params : {'kmeans', 'k-means++', 'random', 'random_from_data'}, callable or array, \
default='kmeans'
        Where responsibilities to start from come from. A callable gets ``(X, n_components,
        random_state)`` and returns responsibilities (n, K) or labels (n,); both can be given as
        arrays too. Above 50,000 rows, X is a sample of the rows, unless an array is given.
    weights_init : array-like of shape (K,), optional
        Weights to start from.
    means_init : array-like of shape (K, d), optional
        Means to start from.
    precisions_init : array-like, optional
        Inverse covariances to start from, shaped like `precisions_`.
    random_state : int, RandomState instance or None, default=None
        Seed of the start and of `sample`.
    warm_start : bool, default=False
        Go on from the last fit.
    verbose : int, default=0
        1 prints the iterations, 2 also times and changes.
    verbose_interval : int, default=10
        Iterations between two prints.
    n_threads : int, optional
        Threads to use; default: all that the machine grants. Results do not depend on it.
    n_screen : int, optional
        Number of starts that are compared by a few iterations on a sample of the rows; the best
        `n_init` of them are run in full. Default: none up to 50,000 rows, above that
        ``n_init + 3``.
    learning_decay, learning_offset : float, default=0.6, 2
        Step t of stepwise EM, in `partial_fit` and ``fit(method="stepwise")``, goes
        ``(t + learning_offset) ** -learning_decay`` of the way to the statistics of its rows.
        The decay is above 0.5 and at most 1.
    callbacks : callable or sequence of callables, optional
        Called with a `fastem.Iteration` after each iteration; a true result stops the fit.

    Attributes
    ----------
    weights_ : ndarray of shape (K,)
        Weights of the components; they sum to 1.
    means_ : ndarray of shape (K, d)
        Means.
    covariances_ : ndarray
        (K, d, d) full, (d, d) tied, (K, d) diag, (K,) spherical.
    precisions_ : ndarray
        Inverse covariances, shaped alike.
    precisions_cholesky_ : ndarray
        U with precision = U U', or roots of precisions; shaped alike.
    converged_ : bool
        Whether the best run converged, with a log-likelihood that never fell.
    stop_reason_ : str
        Why the best run ended.
    n_iter_ : int
        Iterations of the best run.
    lower_bound_ : float
        Mean log-likelihood of a row before the last M-step of the best run.
    lower_bounds_ : list of float
        The same for each iteration.
    log_likelihood_ : float
        Log-likelihood of the data under the returned parameters, weighted.
    total_weight_ : float
        Weight of all rows: their number, unless they have weights.
    history_ : dict of ndarray
        ``objective``, ``change`` and ``seconds`` of each iteration of the best run.
    deaths_ : list of int
        Components that lost all their data in the best run, in that order.
    n_parameters_ : int
        Free parameters.
    fit_seconds_ : float
        Duration of the fit.
    n_features_in_ : int
        Number of features d.
    feature_names_in_ : ndarray of shape (d,)
        Names of the columns, if the data had names.

    See Also
    --------
    fastem.load : Read a model that `save` wrote.

    Notes
    -----
    Data of float32 are processed in float32, with sums over the data in float64; everything else
    in float64. Parameters are float64. Where a component loses all its data it is put beside the
    heaviest one, up to K times in a run; after that it stays with weight 0.

    References
    ----------
    Dempster, Laird and Rubin (1977), Maximum likelihood from incomplete data via the EM algorithm.

    Examples
    --------
    >>> import numpy as np
    >>> from fastem import GaussianMixture
    >>> rng = np.random.default_rng(0)
    >>> X = np.concatenate([rng.normal(-4, 1, (300, 2)), rng.normal(4, 1, (700, 2))])
    >>> mixture = GaussianMixture(2, random_state=0).fit(X)
    >>> np.sort(mixture.weights_).round(2).tolist()
    [0.3, 0.7]
    """

    _start_methods = SKLEARN_METHODS

    def __init__(
        self,
        n_components: int = 1,
        *,
        covariance_type: str = "full",
        tol: float = 1e-3,
        reg_covar: float = 1e-6,
        max_iter: int = 100,
        n_init: int = 1,
        init_params: Any = "kmeans",
        weights_init: Any = None,
        means_init: Any = None,
        precisions_init: Any = None,
        random_state: Any = None,
        warm_start: bool = False,
        verbose: int = 0,
        verbose_interval: int = 10,
        n_threads: int | None = None,
        n_screen: int | None = None,
        learning_decay: float = 0.6,
        learning_offset: float = 2.0,
        callbacks: Any = None,
    ):
        self.n_components = n_components
        self.covariance_type = covariance_type
        self.tol = tol
        self.reg_covar = reg_covar
        self.max_iter = max_iter
        self.n_init = n_init
        self.init_params = init_params
        self.weights_init = weights_init
        self.means_init = means_init
        self.precisions_init = precisions_init
        self.random_state = random_state
        self.warm_start = warm_start
        self.verbose = verbose
        self.verbose_interval = verbose_interval
        self.n_threads = n_threads
        self.n_screen = n_screen
        self.learning_decay = learning_decay
        self.learning_offset = learning_offset
        self.callbacks = callbacks

    def _family(self) -> GaussianFamily:
        return FAMILIES[self.covariance_type](float(self.reg_covar))

    def _family_of_rows(self, reset: bool) -> GaussianFamily:
        return self._family()

    def _make_model(self, data: Data) -> FamilyModel:
        return MixtureModel(self._family(), self.n_components)

    def _fitted_model(self) -> FamilyModel:
        return MixtureModel(self._family(), len(self.weights_))

    def _check_parameters(self) -> None:
        super()._check_parameters()
        check_number("reg_covar", self.reg_covar, Real, 0)
        if self.covariance_type not in FAMILIES:
            raise ValueError(f"covariance_type must be one of {', '.join(FAMILIES)}, not {self.covariance_type!r}.")

    def _n_columns(self) -> int:
        return int(np.shape(self.means_)[1])

    def _publish(self, model: FamilyModel, params: MixtureParams) -> None:
        self.weights_ = params.weights
        self.means_, self.covariances_, self.precisions_cholesky_ = params.components
        self.precisions_ = self._family().precisions(self.precisions_cholesky_)

    def _fitted(self) -> MixtureParams:
        components = GaussianParams(self.means_, self.covariances_, self.precisions_cholesky_)
        k, d = len(self.weights_), np.shape(self.means_)[-1]
        shape = self._family().covariance_shape(k, d)
        if [np.shape(field) for field in components] != [(k, d), shape, shape]:
            raise ValueError("The fitted parameters do not have the shapes of covariance_type: fit again.")
        return as_kernels_read(MixtureParams(self.weights_, components))

    def _check_loaded(self) -> None:
        """Raise ValueError unless parameters and attributes are what a fit could have left."""
        self._check_parameters()
        k, d = self.n_components, self.means_.shape[-1]
        covariance_shape = self._family().covariance_shape(k, d)
        shapes = {
            "weights_": (k,), "means_": (k, d), "covariances_": covariance_shape,
            "precisions_": covariance_shape, "precisions_cholesky_": covariance_shape,
        }  # fmt: skip
        for name, shape in shapes.items():
            _check_shape(getattr(self, name), shape, name)
        check_number("n_features_in_", self.n_features_in_, Integral, 1)
        if self.n_features_in_ != d:
            raise ValueError(f"n_features_in_ is {self.n_features_in_!r} with {d} columns of means_.")
        if (self.weights_ < 0).any() or not np.isclose(self.weights_.sum(), 1, rtol=0, atol=1e-8):
            raise ValueError("weights_ do not sum to 1.")
        family = self._family()
        family.factor(self.covariances_)
        if not np.allclose(family.precisions(self.precisions_cholesky_), self.precisions_, rtol=1e-6, atol=0):
            raise ValueError("precisions_ do not belong to precisions_cholesky_.")
        if not np.isfinite(family.log_determinants(self.precisions_cholesky_, d)).all():
            raise ValueError("precisions_cholesky_ are not factors of precisions.")
        self._check_record()

    def to_sklearn(self) -> Any:
        """The same fitted mixture as a ``sklearn.mixture.GaussianMixture``.

        Returns
        -------
        mixture : sklearn.mixture.GaussianMixture
            Scores and predicts alike, to rounding.
        """
        from sklearn.mixture import GaussianMixture as SklearnGaussianMixture

        check_is_fitted(self)
        shared = SklearnGaussianMixture().get_params().keys()
        params = {name: value for name, value in self.get_params().items() if name in shared}
        if not isinstance(self.init_params, str):
            params["init_params"] = "kmeans"
        other = SklearnGaussianMixture(**params)
        for name in (
            "weights_", "means_", "covariances_", "precisions_", "precisions_cholesky_", "converged_",
            "n_iter_", "lower_bound_", "lower_bounds_", "n_features_in_", "feature_names_in_",
        ):  # fmt: skip
            if hasattr(self, name):
                setattr(other, name, getattr(self, name))
        return other

    # --- parameters to start from -------------------------------------------------------------

    def _needs_responsibilities(self) -> bool:
        return self.weights_init is None or self.means_init is None or self.precisions_init is None

    def _override(self, model: FamilyModel, params: MixtureParams | None) -> MixtureParams:
        weights = params.weights if self.weights_init is None else np.array(self.weights_init)  # type: ignore[union-attr]
        means = params.components.means if self.means_init is None else np.array(self.means_init)  # type: ignore[union-attr]
        if self.precisions_init is None:
            components = params.components._replace(means=means)  # type: ignore[union-attr]
        else:
            precisions = np.array(self.precisions_init, dtype=np.float64, order="C")
            components = GaussianParams(means, *self._family().invert(precisions))
        return as_kernels_read(MixtureParams(weights, components))

    def _check_start(self, model: FamilyModel, n_features: int) -> None:
        k = self.n_components
        if self.weights_init is not None:
            weights = _check_shape(self.weights_init, (k,), "weights_init")
            if not are_mixture_weights(weights, k):
                raise ValueError(
                    f"The parameter 'weights' should be normalized and not negative, but got {weights} "
                    f"with sum {weights.sum()}."
                )
        if self.means_init is not None:
            _check_shape(self.means_init, (k, n_features), "means_init")
        if self.precisions_init is not None:
            wanted = self._family().covariance_shape(k, n_features)
            precisions = _check_shape(self.precisions_init, wanted, "precisions_init")
            _check_positive(precisions, self.covariance_type)


def _check_shape(values: Any, shape: tuple[int, ...], name: str) -> np.ndarray:
    array = check_array(values, ensure_2d=False, allow_nd=True, dtype=np.float64, input_name=name)
    if array.shape != shape:
        raise ValueError(f"The parameter {name!r} should have the shape of {shape}, but got {array.shape}.")
    return np.asarray(array)


def _check_positive(precisions: np.ndarray, covariance_type: str) -> None:
    if covariance_type in ("diag", "spherical"):
        if (precisions <= 0).any():
            raise ValueError(f"'{covariance_type} precision' should be positive.")
        return
    for k, matrix in enumerate(precisions.reshape(-1, *precisions.shape[-2:])):
        if not np.allclose(matrix, matrix.T) or np.linalg.eigvalsh(matrix)[0] <= 0:
            raise ValueError(
                f"'{covariance_type} precision' should be symmetric, positive-definite; matrix {k} is not."
            )

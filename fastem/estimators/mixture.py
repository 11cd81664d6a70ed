"""Mixtures of any family."""

from collections.abc import Iterable, Sequence
from numbers import Integral, Real
from typing import Any

import numpy as np
from sklearn.base import clone
from sklearn.utils.validation import check_is_fitted

from fastem.engine.data import Data
from fastem.engine.statistics import as_kernels_read
from fastem.estimators._checks import are_mixture_weights, check_number
from fastem.estimators._input import FamilyModel
from fastem.estimators._mixture import BaseMixture
from fastem.estimators._side import family_beside, offset_of, side_family
from fastem.families import Components, Noise
from fastem.families.family import Facts, Family
from fastem.latent.mixture.contract import MixtureParams
from fastem.latent.mixture.model import MixtureModel
from fastem.sources import CodedSource, FrameSource, ResponseSource, Source, levels_of, open_source
from fastem.storage.registry import storable

__all__ = ["Mixture"]

_SAMPLE_ROWS = 10_000
# What a converged fit may still gain, in units of tol.
_REACH = 10
# Numbers that are no burden.
_FEW = 2**20


@storable
class Mixture(BaseMixture):
    """Mixture of components of any family, fitted by expectation-maximization.

    Parameters
    ----------
    family : Family or list of Family
        Distribution of a component, one of `fastem.families` or one's own; or one of each component,
        which need not be alike: ``[Constant(0), Poisson()]``.
    n_components : int, default=1
        Number of components K; where a list of families is given, their number.
    tol : float, default=1e-6
        The fit has converged when the mean log-likelihood of a row changes by less, and by the rate at
        which its changes shrink is projected to gain no more than ten times as much for ever after.
    max_iter : int, default=500
        Largest number of iterations of a run.
    n_init : int, default=1
        Number of runs; the one with the best log-likelihood is kept.
    init_params : {'kmeans', 'k-means++', 'random', 'random_from_data'}, callable or array, \
default='kmeans'
        Where responsibilities to start from come from. A callable gets ``(X, n_components,
        random_state)`` and returns responsibilities (n, K) or labels (n,); both can be given as
        arrays too. Above 50,000 rows, X is a sample of the rows, unless an array is given.
        Regressions start from random labels.
    weights_init : array-like of shape (K,), optional
        Weights to start from.
    params_init : dict, optional
        Parameters to start from, such as ``{"rates": ...}``, in the shapes of the attributes.
    weight_prior : float, default=1
        Concentration, at least 1, of a Dirichlet prior on the weights; 1 is none.
    frozen : collection of str, default=()
        Names of parameters, also ``"weights"``, that keep the values they were given to start
        from.
    noise : bool or float, default=False
        True adds a component that is uniform over the box of the data, a number one with that
        density everywhere. It is the last one, and its label is -1.
    component_classes : array-like of shape (K,), optional
        The class that each component belongs to, several to a class if need be; the `labels` of
        a fit then name classes.
    random_state : int, RandomState instance or None, default=None
        Seed of the start and of `sample`.
    warm_start : bool, default=False
        Go on from the last fit.
    verbose, verbose_interval : int
        As in `fastem.GaussianMixture`.
    n_threads, n_screen : int, optional
        As in `fastem.GaussianMixture`.
    learning_decay, learning_offset : float
        As in `fastem.GaussianMixture`.
    callbacks : callable or sequence of callables, optional
        Called with a `fastem.Iteration` after each iteration; a true result stops the fit.

    Attributes
    ----------
    weights_ : ndarray of shape (K,)
        Weights of the components; they sum to 1. With noise there is one more.
    family_ : Family
        The family with what it took over from the data.
    categories_ : list of ndarray or None
        The levels of each categorical column, in the order of its probabilities; None for other
        columns. Only with `Categorical` components.
    rates_, probabilities_, ... : ndarray
        The family's parameters, by their names.
    converged_, stop_reason_, n_iter_, lower_bound_, lower_bounds_, log_likelihood_, total_weight_, \
history_, deaths_, n_parameters_, fit_seconds_, n_features_in_, feature_names_in_
        As in `fastem.GaussianMixture`. With a prior, the bounds count its log density too.
    n_columns_ : int
        Columns of a row, with the response if there is one.

    Examples
    --------
    >>> import numpy as np
    >>> from fastem import Mixture
    >>> from fastem.families import Poisson
    >>> rng = np.random.default_rng(0)
    >>> X = np.concatenate([rng.poisson(2, (300, 2)), rng.poisson(9, (700, 2))])
    >>> mixture = Mixture(Poisson(), 2, random_state=0).fit(X)
    >>> np.sort(mixture.rates_[:, 0]).round().tolist()
    [2.0, 9.0]
    """

    def __init__(
        self,
        family: Family[Any, Any] | Sequence[Family[Any, Any]],
        n_components: int = 1,
        *,
        tol: float = 1e-6,
        max_iter: int = 500,
        n_init: int = 1,
        init_params: Any = "kmeans",
        weights_init: Any = None,
        params_init: Any = None,
        weight_prior: float = 1.0,
        frozen: Iterable[str] = (),
        noise: bool | float = False,
        component_classes: Any = None,
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
        self.family = family
        self.n_components = n_components
        self.tol = tol
        self.max_iter = max_iter
        self.n_init = n_init
        self.init_params = init_params
        self.weights_init = weights_init
        self.params_init = params_init
        self.weight_prior = weight_prior
        self.frozen = frozen
        self.noise = noise
        self.component_classes = component_classes
        self.random_state = random_state
        self.warm_start = warm_start
        self.verbose = verbose
        self.verbose_interval = verbose_interval
        self.n_threads = n_threads
        self.n_screen = n_screen
        self.learning_decay = learning_decay
        self.learning_offset = learning_offset
        self.callbacks = callbacks

    # --- results ------------------------------------------------------------------------------

    def predict_class(self, X: Any, y: Any = None, **side: Any) -> np.ndarray:
        """The most probable class of each row, for components with `component_classes`.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features), path or open source
        y : array-like of shape (n_samples,), optional
            Responses, if the components are regressions.
        **side
            What is known beside the rows, as in the fit: ``exposure``, ``trials``, ``offset``, ``censored`` or
            ``upper``.

        Returns
        -------
        classes : ndarray of shape (n_samples,)
            -1 is noise.
        """
        check_is_fitted(self)
        classes = self._classes()
        known = np.unique(classes)
        resp = self.predict_proba(X, y, **side)
        return np.asarray(known[(resp @ (classes[:, None] == known)).argmax(axis=1)])

    def predict_response(self, X: Any, **side: Any) -> np.ndarray:
        """The expected response of each row, for components that are regressions.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features) or path
            Without responses.
        **side
            What was given beside the rows in the fit: ``offset`` or ``exposure``; 0 or 1 without it.

        Returns
        -------
        response : ndarray of shape (n_samples,)
            The mean over the components, by their weights.
        """
        check_is_fitted(self)
        family = self.family_
        if not family.has_response:
            raise AttributeError(f"{family!r} has no response to predict.")
        source = open_source(X)
        if isinstance(source, FrameSource) and self.n_features_in_ < self.n_columns_:
            self._check_names(source, reset=False)
        offset = offset_of(source.n_rows, side, family, source.dtype)
        source = source if offset is None else ResponseSource(source, offset)
        if source.n_features != self.n_columns_ - 1:
            raise ValueError(
                f"X has {source.n_features - (offset is not None)} columns; there are "
                f"{self.n_columns_ - 1 - (offset is not None)} without the response."
            )
        params = self._fitted()
        blocks = [family.responses(params.components, rows) @ params.weights for _, rows in source.blocks()]
        return np.concatenate(blocks)

    # --- the model ----------------------------------------------------------------------------

    def _reach(self) -> float:
        return _REACH * float(self.tol)

    def _given_family(self) -> Family[Any, Any]:
        """The family of the settings; a list is one of a component each."""
        family: Any = self.family
        return Components(list(family)) if isinstance(family, list | tuple) else family

    def _family_of_rows(self, reset: bool) -> Family[Any, Any]:
        return self._given_family() if reset else self.family_

    def _lenient_columns(self) -> set[int]:
        names = getattr(self, "feature_names_in_", None)
        columns = self._given_family().level_columns(self.n_features_in_, None if names is None else list(names))
        return {j for j, is_lenient in columns.items() if is_lenient}

    def _code_levels(self, source: Source, weights: np.ndarray | None) -> Source:
        before = self.__dict__.pop("categories_", None)
        labels = self.__dict__.pop("_labels", {})
        columns = self._given_family().level_columns(source.n_features, source.names)
        if not columns:
            return source
        found = levels_of(source, list(columns), weights)
        categories: list[np.ndarray | None] = [None] * source.n_features
        for j, codes in found.items():
            categories[j] = np.array(labels[j])[codes.astype(np.intp)] if j in labels else codes
        self.categories_ = categories
        if before is not None and self._is_warm():
            for j, (old, new) in enumerate(zip(before, categories, strict=False)):
                if new is not None and (old is None or not np.array_equal(old, new)):
                    raise ValueError(
                        f"warm_start goes on with the levels of the last fit, which were {_listed(old)} in column {j}, "
                        f"and are {_listed(new)} now. Give their number as levels=, or set warm_start=False."
                    )
        coded = {j: codes for j, codes in found.items() if not np.array_equal(codes, np.arange(len(codes)))}
        # rows without weight may have other levels
        return CodedSource(source, coded, coded if weights is not None else ()) if coded else source

    def _has_response(self) -> bool:
        return bool(self._given_family().has_response)

    def _make_model(self, data: Data) -> FamilyModel:
        family = side_family(clone(self._given_family()), data.source).place(data.source.n_features, data.source.names)
        sample = data.sample_rows(_SAMPLE_ROWS)
        rows = data.source.take(sample)
        family = family.anchored(rows)
        lows = highs = None
        reach = np.empty(0)
        if family.is_surveyed or self.noise is not False:
            survey = data.look(family)
            lows, highs, reach = survey.lows, survey.highs, survey.reach
        weights = data.weights[sample] if len(data.weights) else None
        if weights is not None and not weights.all():
            rows, weights = rows[weights > 0], weights[weights > 0]
        facts = Facts(rows, weights, lows, highs, data.source.names)
        bound = family.bind(facts).widened(reach)
        if self.noise is not False:
            bound = Noise(bound, None if self.noise is True else float(self.noise)).bind(facts)
        return self._model_of(bound)

    def _with_room(self, model: FamilyModel, data: Data) -> FamilyModel:
        family = model.family
        if not hasattr(self, "online_"):
            family = family.endless(self._given_family())
        if family.is_surveyed:
            survey = data.look(family)
            family = family.stretched(survey.lows, survey.highs)
        return model.of(family)

    def _model_of(self, family: Family[Any, Any]) -> FamilyModel:
        return MixtureModel(family, self._n_components(), float(self.weight_prior), frozenset(self.frozen))

    def _fitted_model(self) -> FamilyModel:
        return self._model_of(self.family_)

    def _n_components(self) -> int:
        return self._n_own() + (self.noise is not False)

    def _n_own(self) -> int:
        family = self._given_family()
        return len(family.families) if isinstance(family, Components) else int(self.n_components)

    def _n_columns(self) -> int:
        return int(self.n_columns_)

    def _classes(self) -> np.ndarray:
        if self.component_classes is None:
            classes = np.arange(self._n_own())
            return np.append(classes, np.full(self._n_components() - len(classes), -1))
        classes = np.asarray(self.component_classes)
        if classes.shape != (self._n_own(),) or classes.dtype.kind not in "iu" or classes.min() < 0:
            raise ValueError(f"component_classes must be {self._n_own()} integers, not negative.")
        return np.append(classes, np.full(self._n_components() - len(classes), -1))

    def _publish(self, model: FamilyModel, params: MixtureParams) -> None:
        self.weights_ = params.weights
        self.family_ = model.family
        for name, value in model.family.attributes(params.components).items():
            setattr(self, f"{name}_", value)

    def _set_fit(self, model: FamilyModel, fit: Any, n_features: int) -> None:
        super()._set_fit(model, fit, n_features)
        self.n_columns_ = n_features

    def _fitted(self) -> MixtureParams:
        values = {name: getattr(self, f"{name}_") for name in self.family_.attribute_names()}
        return as_kernels_read(MixtureParams(self.weights_, self.family_.from_attributes(values)))

    def _count_parameters(self, model: FamilyModel, n_features: int) -> int:
        count = super()._count_parameters(model, n_features)
        if not self.frozen:
            return count
        held = model.family.n_frozen(frozenset(self.frozen), model.n_components, n_features)
        return count - held - (model.n_components - 1) * ("weights" in self.frozen)

    def _check_loaded(self) -> None:
        """Raise ValueError unless parameters and attributes are what a fit could have left."""
        self._check_parameters()
        self._check_weights(np.asarray(self.weights_, dtype=np.float64))
        self._check_columns_of_file()
        self._check_family()
        params = self._fitted()
        self.family_.check_params(params.components, self._n_components(), self.n_columns_)
        self._fitted_model()
        self._check_levels()
        self._check_record()

    def _check_levels(self) -> None:
        """Raise ValueError unless there are categories for all columns of levels, and only for those."""
        names = getattr(self, "feature_names_in_", None)
        wanted = self._given_family().level_columns(self.n_features_in_, None if names is None else list(names))
        categories = getattr(self, "categories_", None) or [None] * self.n_features_in_
        if len(categories) != self.n_features_in_ or {j for j, c in enumerate(categories) if c is not None} != {
            *wanted
        }:
            raise ValueError("categories_ do not belong to the columns.")
        for found in categories:
            if found is not None and not (isinstance(found, np.ndarray) and found.ndim == 1 and len(found)):
                raise ValueError("categories_ must be arrays of levels.")

    def _check_family(self) -> None:
        """Raise ValueError unless the fitted family is one of the settings' family."""
        family = self.family_
        if not isinstance(family, Family) or bool(family.n_noise) != (self.noise is not False):
            raise ValueError(f"family_ is {family!r} with noise={self.noise!r}.")
        family.check_settings()
        family.check_bound(self.n_columns_)
        own = _without_noise(family)
        if _kinds(own) != _kinds(family_beside(self._given_family(), own.beside)):
            raise ValueError(f"family_ is {own!r}, of the family {self.family!r}.")
        is_paired = own.beside in ("exposure", "trials", "censored")
        given = self.n_features_in_ * (2 if is_paired else 1) + (own.beside == "offset")
        if self.n_columns_ not in (given, given + own.has_response):
            raise ValueError(f"n_columns_ is {self.n_columns_} with {self.n_features_in_} features.")

    def _check_columns_of_file(self) -> None:
        """Raise ValueError unless there may be as many columns: arrays for them are made before all is known."""
        for name in ("n_features_in_", "n_columns_"):
            check_number(name, getattr(self, name), Integral, 1)
        n_own = self._n_components() - (self.noise is not False)
        n_numbers = sum(_n_numbers(getattr(self, f"{name}_")) for name in self.family_.attribute_names())
        # families of fastem have a number for each column, or each two of them; others may have fewer
        if n_own * self.n_columns_ > max(2 * n_numbers, _FEW):
            raise ValueError(f"n_columns_ is {self.n_columns_} with {n_numbers} numbers of parameters.")

    # --- parameters to start from -------------------------------------------------------------

    def _needs_responsibilities(self) -> bool:
        given = set(self.params_init or ())
        return self.weights_init is None or not self._given_family().is_given_by(given) or self.noise is not False

    def _override(self, model: FamilyModel, params: MixtureParams | None) -> MixtureParams:
        weights = params.weights if self.weights_init is None else np.array(self.weights_init)  # type: ignore[union-attr]
        components = model.family.with_values(
            None if params is None else params.components, dict(self.params_init or {})
        )
        return as_kernels_read(MixtureParams(weights, components))

    def _check_start(self, model: FamilyModel, n_features: int) -> None:
        if self.weights_init is not None:
            self._check_weights(np.array(self.weights_init, dtype=np.float64))
        given, holdable = set(self.params_init or ()), model.family.freezable()
        held = set(self.frozen) - {"weights"}
        unknown = (given - set(model.family.attribute_names())) | (held - set(holdable))
        if unknown:
            raise ValueError(f"There are no parameters {sorted(unknown)}: {model.family!r} has {sorted(holdable)}.")
        missing = {holdable[name] for name in held} - given
        if missing or ("weights" in self.frozen and self.weights_init is None):
            raise ValueError("frozen parameters need values to start from, in params_init or weights_init.")
        if self.params_init:
            like = model.family.alike(np.zeros((2, n_features)), model.n_components)
            start = self._override(model, MixtureParams(np.full(model.n_components, 1 / model.n_components), like))
            model.family.check_params(start.components, model.n_components, n_features)

    def _check_weights(self, weights: np.ndarray) -> None:
        k = self._n_components()
        if not are_mixture_weights(weights, k):
            raise ValueError(f"The weights must be {k} numbers that are not negative and sum to 1, not {weights}.")

    def _check_parameters(self) -> None:
        super()._check_parameters()
        if not isinstance(self._given_family(), Family):
            raise TypeError(f"family must be one of fastem.families, such as Poisson(), not {self.family!r}.")
        if isinstance(self._given_family(), Components) and self.n_components not in (1, self._n_own()):
            raise ValueError(
                f"n_components is {self.n_components}, and {self._n_own()} families were given: one of each component."
            )
        check_number("weight_prior", self.weight_prior, Real, 1)
        if isinstance(self.frozen, str):
            raise TypeError(f"frozen must be a collection of names, such as {{{self.frozen!r}}}.")
        self._given_family().check_settings()
        self._classes()
        noise: Any = self.noise
        if not isinstance(noise, bool) and not (isinstance(noise, float | int) and noise > 0):
            raise ValueError(f"noise must be True, False or a positive density, not {self.noise!r}.")


def _without_noise(family: Family[Any, Any]) -> Family[Any, Any]:
    return family.family if isinstance(family, Noise) else family


def _kinds(family: Family[Any, Any]) -> list[type]:
    """The class of a family, or of that of each component."""
    return [type(one) for one in family.families] if isinstance(family, Components) else [type(family)]


def _n_numbers(value: Any) -> int:
    """Numbers in arrays, also in lists and dicts of them."""
    if isinstance(value, dict | list | tuple):
        return sum(map(_n_numbers, value.values() if isinstance(value, dict) else value))
    return int(np.size(value))


def _listed(levels: np.ndarray | None) -> str:
    found = [] if levels is None else levels.tolist()
    return ", ".join(map(repr, found[:10])) + (", ..." if len(found) > 10 else "")

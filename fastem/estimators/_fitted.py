"""What estimators of mixtures do when they are fitted: results row by row, criteria, samples."""

import math
import os
from abc import ABCMeta, abstractmethod
from collections.abc import Iterator
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator, DensityMixin
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_array, check_is_fitted, validate_data

from fastem.cluster import make_data
from fastem.em import Data, accumulate
from fastem.estimators._checks import check_weights
from fastem.estimators._side import with_side
from fastem.estimators.conditional import ConditionalMixture, condition
from fastem.families._gaussian import GaussianFamily
from fastem.family import LEAST_POSSIBLE, Family
from fastem.latent.labels import InferPass, MixtureModel, MixtureParams, Output, Shape
from fastem.memory import require_memory
from fastem.pace import Pace
from fastem.persistence import save
from fastem.sources import (
    ArraySource,
    CodedSource,
    DoubleSource,
    FrameSource,
    ResponseSource,
    Source,
    as_array,
    block_rows,
    filled,
    is_array_like,
    is_path,
    is_series,
    labelled_columns,
    large_rows,
    mapped_file,
    open_source,
    read_only,
    series_message,
    write_npy,
)
from fastem.statistics import are_finite
from fastem.survey import base, has_missing
from fastem.threads import available_threads

__all__ = ["FittedMixture"]


class FittedMixture(DensityMixin, BaseEstimator, metaclass=ABCMeta):  # type: ignore[misc]  # scikit-learn is untyped
    """Base of the mixtures with independent labels, as far as they need no more than parameters."""

    @abstractmethod
    def _fitted_model(self) -> MixtureModel:
        """The model whose parameters were fitted."""

    @abstractmethod
    def _fitted(self) -> MixtureParams:
        """Parameters from the attributes."""

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        return tags

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "converged_")

    # --- results row by row -------------------------------------------------------------------

    def predict(self, X: Any, y: Any = None, *, out: Any = None, **side: Any) -> Any:
        """The most probable component of each row.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features), path or open source
        y : array-like of shape (n_samples,), optional
            Responses, if the components are regressions.
        out : ndarray of shape (n_samples,) or path, optional
            Where to write; a path becomes a ``.npy`` file, written block by block.
        **side
            What is known beside the rows, as in the fit: ``exposure``, ``trials``, ``offset``, ``censored`` or
            ``upper``.

        Returns
        -------
        labels : ndarray of shape (n_samples,)
            int64; memory-mapped if `out` is a path.
        """
        return self._infer(X, y, side, out, "labels")

    def predict_proba(self, X: Any, y: Any = None, *, out: Any = None, **side: Any) -> Any:
        """The probability of each component for each row.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features), path or open source
        y : array-like of shape (n_samples,), optional
            Responses, if the components are regressions.
        out : ndarray of shape (n_samples, n_components) or path, optional
            Where to write; a path becomes a ``.npy`` file, written block by block.
        **side
            What is known beside the rows, as in the fit: ``exposure``, ``trials``, ``offset``, ``censored`` or
            ``upper``.

        Returns
        -------
        resp : ndarray of shape (n_samples, n_components)
            float32 for float32 data, else float64; memory-mapped if `out` is a path.
        """
        return self._infer(X, y, side, out, "resp")

    def score_samples(self, X: Any, y: Any = None, *, out: Any = None, **side: Any) -> Any:
        """The log-density of each row; -inf where a row is impossible under all components.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features), path or open source
        y : array-like of shape (n_samples,), optional
            Responses, if the components are regressions.
        out : ndarray of shape (n_samples,) or path, optional
            Where to write; a path becomes a ``.npy`` file, written block by block.
        **side
            What is known beside the rows, as in the fit: ``exposure``, ``trials``, ``offset``, ``censored`` or
            ``upper``.

        Returns
        -------
        log_prob : ndarray of shape (n_samples,)
            float64; memory-mapped if `out` is a path.
        """
        return self._infer(X, y, side, out, "log_prob")

    def _infer(self, X: Any, y: Any, side: dict[str, Any], out: Any, what: str) -> Any:
        check_is_fitted(self)
        source = self._open(X, y, side, reset=False)
        n, k = source.n_rows, len(self.weights_)
        kinds: dict[str, tuple[tuple[int, ...], Any]] = {
            "labels": ((n,), np.dtype(np.int64)),
            "resp": ((n, k), source.dtype),
            "log_prob": ((n,), np.dtype(np.float64)),
        }
        wanted, dtype = kinds[what]
        pieces = self._inferred(source, what, wanted[1:], dtype)
        return _collect(pieces, source, wanted, dtype, out)

    def impute(self, X: Any, y: Any = None, *, random_state: Any = None, out: Any = None, **side: Any) -> Any:
        """Rows with their missing cells filled.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features), path or open source
            Missing cells are NaN.
        y : array-like of shape (n_samples,), optional
            Responses, if the components are regressions; the last column of the result.
        random_state : int or RandomState, optional
            Fill with draws from the distribution of the missing cells given the others; default:
            with its mean, over all components.
        out : ndarray of the same shape or path, optional
            Where to write; a path becomes a ``.npy`` file, written block by block.
        **side
            What is known beside the rows, as in the fit: ``exposure``, ``trials``, ``offset``, ``censored`` or
            ``upper``.

        Returns
        -------
        filled : ndarray of shape (n_samples, n_features)
            float32 for float32 data, else float64; memory-mapped if `out` is a path.
        """
        check_is_fitted(self)
        source = self._open(X, y, side, reset=False)
        rng = None if random_state is None else check_random_state(random_state)
        wanted = (source.n_rows, source.n_features)
        dtype = self._decoded(np.empty((0, source.n_features), source.dtype)).dtype
        return _collect(self._imputed(source, rng), source, wanted, dtype, out)

    def conditional(self, X: Any, given: Any) -> ConditionalMixture:
        """The distribution of some columns given the others, for mixtures of Gaussians.

        Its means are Gaussian mixture regression.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_given)
            Values of the given columns.
        given : sequence of int or str
            Numbers, or names, of those columns, in the order of X.

        Returns
        -------
        mixture : ConditionalMixture
            Weights, means and covariances of the other columns for each row.

        Examples
        --------
        >>> import numpy as np
        >>> from fastem import GaussianMixture
        >>> x = np.linspace(0, 1, 50)
        >>> rows = np.stack([x, 2 * x], axis=1)
        >>> GaussianMixture(1).fit(rows).conditional([[0.5]], given=[0]).mean().round(3).tolist()
        [[1.0]]
        """
        check_is_fitted(self)
        family = self._fitted_model().family
        if not isinstance(family, GaussianFamily):
            raise ValueError(f"conditional needs components that are Gaussians, not {family!r}.")
        params = self._fitted()
        k, d = params.components.means.shape
        columns = self._columns(given, d)
        given = as_array(X) if isinstance(X, np.ndarray | list | tuple) else X
        rows = check_array(filled(given, np.dtype(np.float64)), dtype=np.float64, input_name="X")
        if rows.shape[1] != len(columns):
            raise ValueError(f"X has {rows.shape[1]} columns for {len(columns)} that are given.")
        covariances = family.matrices(params.components.covariances, k, d)
        return condition(params.weights, params.components.means, covariances, rows, columns)

    def _columns(self, given: Any, d: int) -> np.ndarray:
        """Numbers of columns that are given by name or number."""
        names = list(getattr(self, "feature_names_in_", []))
        numbers = [names.index(name) if name in names else name for name in given]
        wrong = [name for name in numbers if isinstance(name, str) or not 0 <= name < d]
        if wrong or len(set(numbers)) != len(numbers) or not 0 < len(numbers) < d:
            raise ValueError(f"given must name some, but not all, of the {d} columns once, not {list(given)!r}.")
        return np.array(numbers, dtype=np.intp)

    def _imputed(self, source: Source, rng: np.random.RandomState | None) -> Iterator[tuple[int, np.ndarray]]:
        params, family = self._fitted(), self._fitted_model().family
        k = len(params.weights)
        for first, block, resp in self._walk(source, "resp", (k,), source.dtype):
            rows = block.copy()
            some = np.isnan(rows).any(axis=1)
            if some.any():
                rows[some] = _fill(family, params.components, rows[some], resp[some], rng)
            yield first, self._decoded(rows)

    def _inferred(
        self, source: Source, what: str, tail: tuple[int, ...], dtype: np.dtype[Any]
    ) -> Iterator[tuple[int, np.ndarray]]:
        """First row and results of the rows, piece by piece."""
        for first, _, values in self._walk(source, what, tail, dtype):
            yield first, values

    def _walk(
        self, source: Source, what: str, tail: tuple[int, ...], dtype: np.dtype[Any]
    ) -> Iterator[tuple[int, np.ndarray, np.ndarray]]:
        """First row, rows and results of the rows, piece by piece."""
        params, model = self._fitted(), self._fitted_model()
        family = model.family
        k, of_each = len(params.weights), self._label_of_each()
        data = Data(source)
        inference = _Inference(params, self._shape(source), what, tail, data.pace)
        for first, block, _ in data.blocks():
            size = block_rows(max(k, source.n_features), source.dtype)
            for start in range(0, len(block), size):
                rows = block[start : start + size]
                missing = has_missing(family, rows, first + start)
                family.check(rows, first + start)
                if (wider := family.widened(family.reach(rows))) is not family:
                    family, inference.passes = wider, {}
                numbers = first + start + np.arange(len(rows))
                values = inference.values(model.of(family), rows, missing, numbers)
                if len(large := large_rows(rows)):
                    double = rows[large].astype(np.float64)
                    values[large] = inference.values(model.of(family), double, missing, numbers[large])
                if what == "labels":
                    values = of_each[values]
                if what == "log_prob" and (of_rows := base(family, rows)) is not None:
                    values += of_rows
                yield first + start, rows, values

    # --- criteria -----------------------------------------------------------------------------

    def score(self, X: Any, y: Any = None, *, sample_weight: Any = None, **side: Any) -> float:
        """The mean log-density of a row.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features), path or open source
        y : array-like of shape (n_samples,), optional
            Responses, if the components are regressions.
        sample_weight : array-like of shape (n_samples,), optional
        **side
            What is known beside the rows, as in the fit: ``exposure``, ``trials``, ``offset``, ``censored`` or
            ``upper``.

        Returns
        -------
        log_likelihood : float
        """
        return self._log_likelihood(X, y, sample_weight, side)[0]

    def bic(self, X: Any, y: Any = None, *, sample_weight: Any = None, **side: Any) -> float:
        """Bayesian information criterion, ``-2 log L + p log n``: lower is better.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features), path or open source
        y : array-like of shape (n_samples,), optional
            Responses, if the components are regressions.
        sample_weight : array-like of shape (n_samples,), optional
            n is their sum.
        **side
            What is known beside the rows, as in the fit: ``exposure``, ``trials``, ``offset``, ``censored`` or
            ``upper``.

        Returns
        -------
        bic : float
        """
        mean, weight = self._log_likelihood(X, y, sample_weight, side)
        return -2 * mean * weight + self.n_parameters_ * math.log(weight)

    def aic(self, X: Any, y: Any = None, *, sample_weight: Any = None, **side: Any) -> float:
        """Akaike's information criterion, ``-2 log L + 2 p``: lower is better.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features), path or open source
        y : array-like of shape (n_samples,), optional
            Responses, if the components are regressions.
        sample_weight : array-like of shape (n_samples,), optional
        **side
            What is known beside the rows, as in the fit: ``exposure``, ``trials``, ``offset``, ``censored`` or
            ``upper``.

        Returns
        -------
        aic : float
        """
        mean, weight = self._log_likelihood(X, y, sample_weight, side)
        return -2 * mean * weight + 2 * self.n_parameters_

    def icl(self, X: Any, y: Any = None, *, sample_weight: Any = None, **side: Any) -> float:
        """Integrated completed likelihood criterion: lower is better.

        BIC plus twice the doubt about the labels, ``-2 sum log max_k r_ik`` (Biernacki, Celeux
        and Govaert 2000), as mclust computes it, with scikit-learn's sign.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features), path or open source
        y : array-like of shape (n_samples,), optional
            Responses, if the components are regressions.
        sample_weight : array-like of shape (n_samples,), optional
        **side
            What is known beside the rows, as in the fit: ``exposure``, ``trials``, ``offset``, ``censored`` or
            ``upper``.

        Returns
        -------
        icl : float
        """
        check_is_fitted(self)
        source = self._open(X, y, side, reset=False)
        weights = check_weights(sample_weight, source.n_rows)
        doubt = 0.0
        for first, resp in self._inferred(source, "resp", (len(self.weights_),), source.dtype):
            surprise = -np.log(resp.max(axis=1), dtype=np.float64)
            doubt += float(surprise.sum() if weights is None else surprise @ weights[first : first + len(resp)])
        return self.bic(X, y, sample_weight=sample_weight, **side) + 2 * doubt

    def _log_likelihood(self, X: Any, y: Any, sample_weight: Any, side: dict[str, Any]) -> tuple[float, float]:
        """The mean log-density of a row, and the weight of all rows."""
        check_is_fitted(self)
        source = self._open(X, y, side, reset=False)
        weights = check_weights(sample_weight, source.n_rows)
        data = make_data(source, weights, None, self.n_threads, needs_values=False)
        model = self._fitted_model()
        if model.family.is_surveyed:
            model = model.of(model.family.widened(data.look(model.family).reach))
        stats = accumulate(model, self._fitted(), data, self._shape(source))
        if source.dtype == np.float32 and not are_finite(stats.family):
            data = make_data(DoubleSource(source), weights, None, self.n_threads, needs_values=False)
            stats = accumulate(model, self._fitted(), data, self._shape(data.source))
        weight = float(stats.labels.weight)
        return float(stats.labels.log_likelihood) / weight, weight * data.unit

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
            The component of each row, -1 for noise, as of `predict`.
        """
        check_is_fitted(self)
        if n_samples < 1:
            raise ValueError(f"n_samples must be at least 1, not {n_samples}.")
        rng = check_random_state(self.random_state)
        counts = rng.multinomial(n_samples, self._fitted().weights)
        draws = [self._draw(k, int(n), rng) for k, n in enumerate(counts) if n]
        return self._decoded(np.vstack(draws)), np.repeat(self._label_of_each(), counts)

    def _label_of_each(self) -> np.ndarray:
        """The label of each component: its number, -1 of noise."""
        labels = np.arange(len(self.weights_))
        labels[len(labels) - self._fitted_model().family.n_noise :] = -1
        return labels

    def _draw(self, k: int, n: int, rng: np.random.RandomState) -> np.ndarray:
        """`n` draws from component k, shape (n, d)."""
        return self._fitted_model().family.sample(self._fitted().components, k, n, rng)

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

    # --- data ---------------------------------------------------------------------------------

    def _n_own(self) -> int:
        """Components without noise."""
        return int(self.n_components)

    def _n_columns(self) -> int:
        """Columns of the rows that were fitted, with the response."""
        return int(self.n_features_in_)

    def _has_response(self) -> bool:
        """Whether the last column of the rows is a response."""
        return False

    def _known_levels(self, reset: bool) -> tuple[Any, dict[int, list[Any]] | None]:
        """Which columns are of levels, and those that the fit met."""
        columns = self._family_of_rows(reset).level_columns
        if reset:
            return columns, None
        categories = getattr(self, "categories_", None) or []
        known = {j: found.tolist() for j, found in enumerate(categories) if found is not None}
        lenient = self._lenient_columns()
        return lambda n, names: {j: j in lenient for j in known if j < n}, known

    def _lenient_columns(self) -> set[int]:
        """Columns in which levels that the fit did not meet are missing."""
        return set()

    def _coded(self, source: Source, labels: dict[int, list[Any]], reset: bool) -> Source:
        """Rows with levels as codes, by what the fit met; in a fit the labels of columns are kept for later."""
        if reset:
            self.__dict__.pop("_labels", None)
            if labels:
                self._labels = labels
            return source
        categories = getattr(self, "categories_", None) or []
        lenient = self._lenient_columns()
        wanted = {}
        for j, found in enumerate(categories):
            if found is None or j in labels:
                continue
            if found.dtype.kind not in "fiu":
                raise ValueError(f"Column {j} held labels such as {found[0]!r} in the fit, and holds numbers now.")
            if j in lenient or not np.array_equal(found, np.arange(len(found))):
                wanted[j] = found.astype(np.float64)
        return CodedSource(source, wanted, lenient) if wanted else source

    def _decoded(self, rows: np.ndarray) -> np.ndarray:
        """Rows with the user's own levels in place of codes."""
        categories = getattr(self, "categories_", None) or []
        if all(found is None or found.dtype.kind in "fiu" for found in categories):
            decoded = rows.copy()
        else:
            decoded = rows.astype(object)
        for j, found in enumerate(categories):
            if found is not None:
                codes, here = rows[:, j], ~np.isnan(rows[:, j])
                decoded[here, j] = found[codes[here].astype(np.intp)]
        return decoded

    def _family_of_rows(self, reset: bool) -> Family[Any, Any]:
        """The family that knows what rows hold: that of the settings, or after a fit the fitted one."""
        return self._fitted_model().family

    def _open(self, X: Any, y: Any, side: dict[str, Any], *, reset: bool) -> Source:
        """The data as a source; arrays are checked as scikit-learn checks them."""
        X, labels = labelled_columns(X, *self._known_levels(reset))
        if is_array_like(X):
            source: Source = ArraySource(self._check_array(X, reset))
        else:
            source = open_source(X)
            self._check_names(source, reset)
        if self._has_response():
            source = source if y is None else ResponseSource(source, y)
        source = with_side(source, side, self._family_of_rows(reset), not reset)
        if self._has_response() and not reset and source.n_features != self._n_columns():
            raise ValueError(
                f"There are {source.n_features} columns, and {self._n_columns()} with the response: give it as y, "
                "as in the fit."
            )
        source = self._coded(source, labels, reset)
        if source.n_rows < (2 if reset else 1):
            raise ValueError(f"Found {source.n_rows} sample(s): at least {2 if reset else 1} needed.")
        if reset and source.n_rows < self._n_own():
            raise ValueError(
                f"Expected n_samples >= n_components but got n_components = {self._n_own()}, "
                f"n_samples = {source.n_rows}."
            )
        return source

    def _check_array(self, X: Any, reset: bool) -> np.ndarray:
        """An array as scikit-learn checks it; a mask stays with it."""
        if is_series(X):
            raise ValueError(series_message(X))
        given = as_array(X) if isinstance(X, np.ndarray | list | tuple) else X
        array = validate_data(self, given, reset=reset, dtype="numeric", ensure_all_finite=False)
        mask = np.ma.getmask(given)
        return array if mask is np.ma.nomask else np.ma.array(array, mask=mask, copy=False)

    def _check_names(self, source: Source, reset: bool) -> None:
        """Columns of frames as scikit-learn checks them, those of all else as `_check_columns` does."""
        if isinstance(source, FrameSource) and source.is_of_scikit_learn:
            validate_data(self, source.frame, reset=reset, skip_check_array=True)
        else:
            self._check_columns(source, reset)

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


class _Inference:
    """What is inferred of rows in float32 or float64, by passes that are made when they are needed."""

    def __init__(self, params: MixtureParams, shape: Shape, what: str, tail: tuple[int, ...], pace: Pace):
        self.params, self.shape, self.what, self.tail, self.pace = params, shape, what, tail, pace
        self.passes: dict[tuple[bool, np.dtype[Any]], InferPass] = {}

    def values(self, model: MixtureModel, rows: np.ndarray, missing: bool, numbers: np.ndarray) -> np.ndarray:
        """Results of rows with the given numbers; raises ValueError if one is impossible and has none."""
        kind = missing, rows.dtype
        if kind not in self.passes:
            self.passes[kind] = model.infer(self.params, self.shape._replace(dtype=rows.dtype), missing)
        k = len(self.params.weights)
        nothing = Output(np.empty(0), np.empty((0, k), rows.dtype), np.empty(0, np.int64))
        dtype = nothing._asdict()[self.what].dtype
        values = np.empty((len(rows), *self.tail), dtype)
        wanted = {self.what: values}
        excludes = model.family.excludes(self.params.components)
        if excludes:
            wanted.setdefault("log_prob", np.empty(len(rows)))
        self.passes[kind].add(read_only(rows), nothing._replace(**wanted), self.pace)
        impossible = wanted["log_prob"] < LEAST_POSSIBLE if excludes else np.zeros(0, bool)
        if self.what == "log_prob":
            values[: len(impossible)][impossible] = -np.inf
        elif impossible.any():
            raise ValueError(
                f"Row {numbers[np.argmax(impossible)]} of X is impossible under all components: their probabilities "
                "or rates are 0 there. A prior keeps them from 0."
            )
        return values


def _collect(
    pieces: Iterator[tuple[int, np.ndarray]], source: Source, wanted: tuple[int, ...], dtype: np.dtype[Any], out: Any
) -> Any:
    """Results of all rows in an array, in `out`, or in the file that `out` names."""
    _refuse_input(source, out)
    if is_path(out):
        with write_npy(out, wanted, dtype) as append:
            for _, values in pieces:
                append(values)
        return np.load(out, mmap_mode="r")
    if out is None:
        require_memory(math.prod(wanted) * dtype.itemsize, f"The result of {wanted} {dtype}", "Give a path as out=.")
        out = np.empty(wanted, dtype)
    elif not _takes(out, wanted, dtype):
        raise ValueError(f"out must be a path or a writeable array of shape {wanted} for {dtype}, without a mask.")
    for first, values in pieces:
        out[first : first + len(values)] = values
    return out


def _refuse_input(source: Source, out: Any) -> None:
    """Raise ValueError if writing to `out` would change the data that are read."""
    if is_path(out) and source.is_at(out):
        raise ValueError(f"out={str(out)!r} is the file that the data come from.")
    if not isinstance(out, np.ndarray):
        return
    file = mapped_file(out)
    if file is not None and source.is_at(file):
        raise ValueError(f"out is mapped from {str(file)!r}, the file that the data come from.")
    if any(_overlap(array, out) for array in source.memory()):
        raise ValueError("out lies in the memory of the data: give another array.")


def _overlap(a: np.ndarray, b: np.ndarray) -> bool:
    try:
        return np.shares_memory(a, b, max_work=100_000)  # type: ignore[arg-type]  # any number will do
    except np.exceptions.TooHardError:
        return True


def _fill(
    family: Family[Any, Any], params: Any, rows: np.ndarray, resp: np.ndarray, rng: np.random.RandomState | None
) -> np.ndarray:
    """Rows with missing cells filled: means over all components, or draws from one that is drawn."""
    if rng is None:
        filled = np.zeros(rows.shape)
        for k in range(resp.shape[1]):
            filled += resp[:, k, None] * family.complete(params, k, rows, None)
        return np.where(np.isnan(rows), family.settled(params, resp, rows, filled), rows)
    cumulative = np.cumsum(resp, axis=1, dtype=np.float64)
    drawn = (cumulative < rng.uniform(size=(len(rows), 1)) * cumulative[:, -1:]).sum(axis=1)
    filled = rows.copy()
    for k in np.unique(drawn):
        filled[drawn == k] = family.complete(params, int(k), rows[drawn == k], rng)
    return filled


def _takes(out: Any, shape: tuple[int, ...], dtype: np.dtype[Any]) -> bool:
    return (
        isinstance(out, np.ndarray)
        and not np.ma.isMaskedArray(out)
        and out.shape == shape
        and out.flags.writeable
        and np.can_cast(dtype, out.dtype, "same_kind")
    )

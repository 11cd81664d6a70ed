"""Results of a fitted mixture row by row, in memory or written to files."""

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_array, check_is_fitted

from fastem.engine.contract import Shape
from fastem.engine.data import Data
from fastem.engine.validation import base, has_missing
from fastem.estimators._input import FamilyModel, MixtureInput
from fastem.estimators.conditional import ConditionalMixture, condition
from fastem.families.family import Family
from fastem.families.gaussian.family import GaussianFamily
from fastem.kernels.dispatch import LEAST_POSSIBLE
from fastem.kernels.launches import Launches
from fastem.kernels.memory import require_memory
from fastem.latent.mixture.contract import MixtureParams
from fastem.latent.mixture.kernels import Output
from fastem.latent.mixture.passes import InferPass
from fastem.sources import Source, as_array, block_rows, filled, is_path, large_rows, mapped_file, read_only, write_npy

__all__ = ["MixtureResults"]


class MixtureResults(MixtureInput):
    """What a fitted mixture says of each row."""

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
        inference = _Inference(params, self._shape(source), what, tail, data.launches)
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

    def _label_of_each(self) -> np.ndarray:
        """The label of each component: its number, -1 of noise."""
        labels = np.arange(len(self.weights_))
        labels[len(labels) - self._fitted_model().family.n_noise :] = -1
        return labels


class _Inference:
    """What is inferred of rows in float32 or float64, by passes that are made when they are needed."""

    def __init__(self, params: MixtureParams, shape: Shape, what: str, tail: tuple[int, ...], launches: Launches):
        self.params, self.shape, self.what, self.tail, self.launches = params, shape, what, tail, launches
        self.passes: dict[tuple[bool, np.dtype[Any]], InferPass] = {}

    def values(self, model: FamilyModel, rows: np.ndarray, missing: bool, numbers: np.ndarray) -> np.ndarray:
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
        self.passes[kind].add(read_only(rows), nothing._replace(**wanted), self.launches)
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

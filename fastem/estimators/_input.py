"""How rows come in: arrays, frames, files and streams become a source, as scikit-learn checks it."""

from abc import ABCMeta, abstractmethod
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator, DensityMixin
from sklearn.utils.validation import validate_data

from fastem.engine.contract import Shape
from fastem.estimators._side import with_side
from fastem.families.family import Family
from fastem.kernels.threads import available_threads
from fastem.latent.mixture.contract import MixtureParams
from fastem.latent.mixture.model import MixtureModel
from fastem.sources import (
    ArraySource,
    CodedSource,
    FrameSource,
    ResponseSource,
    Source,
    as_array,
    is_array_like,
    is_series,
    labelled_columns,
    open_source,
    series_message,
)

__all__ = ["FamilyModel", "MixtureInput"]

# Mixtures of families, as estimators know them.
FamilyModel = MixtureModel[Family[Any, Any]]


class MixtureInput(DensityMixin, BaseEstimator, metaclass=ABCMeta):  # type: ignore[misc]  # scikit-learn is untyped
    """What estimators of mixtures know of their rows."""

    @abstractmethod
    def _fitted_model(self) -> FamilyModel:
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

    def _n_own(self) -> int:
        """Components without noise."""
        return int(self.n_components)

    def _n_columns(self) -> int:
        """Columns of the rows that were fitted, with the response."""
        return int(self.n_features_in_)

    def _has_response(self) -> bool:
        """Whether the last column of the rows is a response."""
        return False

    def _family_of_rows(self, reset: bool) -> Family[Any, Any]:
        """The family that knows what rows hold: that of the settings, or after a fit the fitted one."""
        return self._fitted_model().family

    def _shape(self, source: Source) -> Shape:
        return Shape(source.n_features, source.dtype, available_threads(self.n_threads))

    # --- rows ---------------------------------------------------------------------------------

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

    # --- levels -------------------------------------------------------------------------------

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

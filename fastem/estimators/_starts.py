"""Where the runs of a fit begin."""

from abc import abstractmethod
from collections.abc import Iterator
from functools import partial
from typing import Any, ClassVar

import numpy as np

from fastem.engine.contract import Shape
from fastem.engine.data import Data
from fastem.engine.loop import Fit
from fastem.engine.validation import has_missing
from fastem.estimators._fitted import FittedMixture
from fastem.estimators._input import FamilyModel
from fastem.latent.mixture.contract import MixtureParams
from fastem.latent.mixture.deaths import reseeds
from fastem.latent.mixture.start import (
    EXACT_ROWS,
    METHODS,
    Start,
    features,
    from_responsibilities,
    responsibilities,
    sample_size,
    screen,
)
from fastem.sources import ArraySource

__all__ = ["MixtureStarts", "is_array"]

# Starts to compare where nothing is known of the components.
BLIND_STARTS = 20


class MixtureStarts(FittedMixture):
    """Starts from the user's parameters, from responsibilities, or from a sample of the rows."""

    _start_methods: ClassVar[dict[str, Start]] = METHODS

    @abstractmethod
    def _needs_responsibilities(self) -> bool:
        """Whether not all parameters were given to start from."""

    @abstractmethod
    def _override(self, model: FamilyModel, params: MixtureParams | None) -> MixtureParams:
        """Starting parameters, those given by the user in place of `params`."""

    @abstractmethod
    def _check_start(self, model: FamilyModel, n_features: int) -> None:
        """Raise ValueError if the parameters given to start from are wrong."""

    def _n_components(self) -> int:
        """Components that the settings ask for."""
        return int(self.n_components)

    def _is_warm(self) -> bool:
        return bool(self.warm_start) and hasattr(self, "converged_")

    def _check_goes_on(self, what: str, n_features: int) -> MixtureParams:
        """The fitted parameters, if they are those of the settings and the data."""
        params = self._fitted()
        fitted = self._fitted_model().n_components, self._n_columns()
        if fitted != (self._n_components(), n_features):
            raise ValueError(
                f"{what} goes on with the components and columns of the last fit, which were "
                f"{fitted[0]} and {fitted[1]}. "
                "Make a new estimator, or set warm_start=False and fit."
            )
        return params

    def _starts(
        self, model: FamilyModel, data: Data, shape: Shape, rng: np.random.RandomState, warm: bool
    ) -> Iterator[Fit]:
        """The beginning of each run."""
        if warm:
            params = self._check_goes_on("warm_start", data.source.n_features)
            model.family.check_params(params.components, model.n_components, data.source.n_features)
            yield Fit(params, memory=reseeds(model.n_components))
        elif not self._needs_responsibilities():
            yield Fit(self._override(model, None), memory=reseeds(model.n_components))
        elif is_array(self.init_params) or (
            data.source.n_rows <= EXACT_ROWS and not self.n_screen and not _needs_several(model)
        ):
            yield from self._exact_starts(model, data, shape, rng)
        else:
            yield from self._screened_starts(model, data, shape, rng)

    def _exact_starts(self, model: FamilyModel, data: Data, shape: Shape, rng: np.random.RandomState) -> Iterator[Fit]:
        """Starts from responsibilities of all rows, made as scikit-learn makes them, or given."""
        given = is_array(self.init_params)
        override = partial(self._override, model)
        # Responsibilities that are given do not need the rows in memory, only their number.
        X = np.empty((data.source.n_rows, 0), shape.dtype) if given else features(model, data)
        for _ in range(1 if given else self.n_init):
            resp = responsibilities(self.init_params, X, model, rng, data, self._start_methods)
            yield from_responsibilities(model, data, resp, shape, override)

    def _screened_starts(
        self, model: FamilyModel, data: Data, shape: Shape, rng: np.random.RandomState
    ) -> Iterator[Fit]:
        """The best of several starts on a sample of the rows."""
        size = sample_size(self._n_own())
        rows = data.sample_rows(size, least=self._n_own())
        if data.allowed is not None:
            known = data.allowed.are_known & (data.weights > 0 if len(data.weights) else True)
            rows = np.union1d(rows, np.flatnonzero(known)[:size])
        X = data.source.take(rows)
        if has_missing(model.family, X, 0, numbers=rows):
            data.look(model.family)
        sample = data.part(ArraySource(X), rows)
        extra = BLIND_STARTS if _needs_several(model) else 3
        n_candidates = max(self.n_screen or self.n_init + extra, self.n_init)
        for params in screen(
            model, sample, self.init_params, n_candidates, self.n_init, rng, shape, partial(self._override, model),
            self._start_methods,
        ):  # fmt: skip
            yield Fit(params, memory=reseeds(model.n_components))


def _needs_several(model: FamilyModel) -> bool:
    """Whether one start is not enough, on few rows either."""
    return model.n_components > 1 and (model.family.starts_blind or model.family.is_ordered)


def is_array(init_params: Any) -> bool:
    return not isinstance(init_params, str) and not callable(init_params)

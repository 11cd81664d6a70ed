"""What a fit leaves behind: attributes, warnings, and checks of those that come from files."""

import warnings
from abc import abstractmethod
from typing import Any

import numpy as np
from sklearn.exceptions import ConvergenceWarning

from fastem.engine.loop import Fit
from fastem.estimators._fitted import FittedMixture
from fastem.estimators._input import FamilyModel
from fastem.latent.mixture.contract import MixtureParams
from fastem.latent.mixture.stepwise import LARGEST_WEIGHT

__all__ = ["FitRecord"]


class FitRecord(FittedMixture):
    """Attributes that tell of a fit."""

    deaths_: list[int]
    saddles_: list[int]

    def _set_fit(self, model: FamilyModel, fit: Fit, n_features: int) -> None:
        self._publish(model, fit.params)
        self.converged_ = fit.converged
        assert fit.reason is not None
        self.stop_reason_ = fit.reason.value
        self.n_iter_ = len(fit.objectives)
        self.lower_bound_ = fit.objective
        self.lower_bounds_ = fit.objectives
        self.n_parameters_ = self._count_parameters(model, n_features)
        self.at_floor_ = [(int(k), int(j)) for k, j in np.argwhere(model.family.at_floor(fit.params.components))]
        self.history_ = fit.history

    def _count_parameters(self, model: FamilyModel, n_features: int) -> int:
        return model.family.n_parameters(model.n_components, n_features) + model.n_components - 1

    @abstractmethod
    def _publish(self, model: FamilyModel, params: MixtureParams) -> None:
        """Set the attributes that hold the parameters."""

    def _warn(self, fit: Fit) -> None:
        if fit.falls:
            warnings.warn(
                f"The log-likelihood fell at iteration {', '.join(map(str, fit.falls))}: the data may be too "
                "badly scaled for their precision. Standardise them, or pass float64.",
                ConvergenceWarning,
                stacklevel=3,
            )
        elif not fit.converged and self.max_iter > 0:
            warnings.warn(
                f"Best performing initialization did not converge: {self.stop_reason_}. Try different init "
                "parameters, or increase max_iter, tol, or check for degenerate data.",
                ConvergenceWarning,
                stacklevel=3,
            )
        if self.at_floor_:
            warnings.warn(self._describe_floor(), ConvergenceWarning, stacklevel=3)
        if self.deaths_:
            warnings.warn(
                f"Components lost all their data during the fit: {self.deaths_}. They were started again beside "
                "the largest one, or have weight 0 now. Fewer components may describe the data.",
                ConvergenceWarning,
                stacklevel=3,
            )

    def _describe_floor(self) -> str:
        """Which components are as narrow as they may be, and where."""
        names = getattr(self, "feature_names_in_", None)
        found = [f"{k} in column {j if names is None or j >= len(names) else names[j]}" for k, j in self.at_floor_[:5]]
        more = f" and {len(self.at_floor_) - 5} more" if len(self.at_floor_) > 5 else ""
        return (
            f"Components are as narrow as the data can tell: {', '.join(found)}{more}. Their rows are equal there, or "
            "follow from other columns, and the likelihood has no other bound. Fewer components, a prior or a larger "
            "floor may describe the data better."
        )

    # --- files --------------------------------------------------------------------------------

    def _check_record(self) -> None:
        """Raise ValueError unless what is told of a loaded model's fit is sound."""
        kinds = {
            "converged_": bool, "stop_reason_": str, "lower_bound_": float, "log_likelihood_": float,
            "total_weight_": float, "fit_seconds_": float, "n_parameters_": int, "n_iter_": int,
        }  # fmt: skip
        missing = [name for name in (*kinds, "at_floor_", "saddles_", "deaths_") if not hasattr(self, name)]
        if missing or set(self.history_) != {"objective", "change", "seconds"}:
            raise ValueError(f"attributes or parts of history_ are missing: {', '.join(missing)}")
        for name, kind in kinds.items():
            if type(getattr(self, name)) is not kind:
                raise ValueError(f"{name} is {getattr(self, name)!r}.")
        if not 0 < self.total_weight_ <= LARGEST_WEIGHT:
            raise ValueError(f"total_weight_ is {self.total_weight_!r}.")
        self._check_history()
        n_components, n_columns = self._fitted_model().n_components, self._n_columns()
        self.deaths_ = _whole_numbers("deaths_", self.deaths_, n_components)
        self.saddles_ = _whole_numbers("saddles_", self.saddles_, self.n_iter_ + 1)
        pairs = np.reshape(self.at_floor_, (-1, 2))
        components = _whole_numbers("at_floor_", pairs[:, 0], n_components)
        self.at_floor_ = list(zip(components, _whole_numbers("at_floor_", pairs[:, 1], n_columns), strict=True))
        if hasattr(self, "feature_names_in_"):
            names = self.__dict__["feature_names_in_"]
            if (
                not isinstance(names, list)
                or len(names) != self.n_features_in_
                or not all(isinstance(name, str) for name in names)
            ):
                raise ValueError("feature_names_in_ are not the names of the features.")
            self.__dict__["feature_names_in_"] = np.array(names, dtype="O")

    def _check_history(self) -> None:
        arrays = {"lower_bounds_": np.asarray(self.lower_bounds_, dtype=np.float64)}
        arrays |= {name: np.asarray(values, dtype=np.float64) for name, values in self.history_.items()}
        for name, values in arrays.items():
            if values.shape != (self.n_iter_,):
                raise ValueError(f"{name} does not belong to n_iter_.")
            if np.isnan(values).any():
                raise ValueError(f"{name} is not a number.")
        self.lower_bounds_ = arrays.pop("lower_bounds_").tolist()
        self.history_ = arrays


def _whole_numbers(name: str, values: Any, end: int) -> list[int]:
    """Whole numbers from 0 to `end`, not included; raises ValueError."""
    array = np.asarray(values)
    if array.ndim != 1 or (array.size and (array.dtype.kind not in "iu" or array.min() < 0 or array.max() >= end)):
        raise ValueError(f"{name} are not whole numbers from 0 to {end - 1}.")
    return [int(value) for value in array]

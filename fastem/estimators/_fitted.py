"""What estimators of mixtures do when they are fitted: results, criteria, samples, files."""

import os

import numpy as np
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted

from fastem.estimators._criteria import MixtureCriteria
from fastem.families import GaussianPrior
from fastem.families.family import REGISTRY
from fastem.storage.model_files import save
from fastem.storage.registry import add_settings

__all__ = ["FittedMixture"]

add_settings(REGISTRY)
add_settings({"GaussianPrior": GaussianPrior})


class FittedMixture(MixtureCriteria):
    """Base of the mixtures with independent labels, as far as they need no more than parameters."""

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

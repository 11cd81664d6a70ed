"""Binomial and Bernoulli distributions of independent columns."""

from abc import abstractmethod
from typing import Any, NamedTuple, Self

import numpy as np
from scipy.special import xlogy

from fastem.families._domain import LARGEST_COUNT, check_concentration, check_counts, check_values, excess, tabled
from fastem.families._factors import Factor, Sum, Term
from fastem.families._linear import LinearFamily, log_ratio
from fastem.families._paired import PairedFamily
from fastem.families._settings import check_array, check_column_values
from fastem.families._special import deviance
from fastem.families.family import Family

__all__ = ["Bernoulli", "Binomial", "BinomialOfTrials"]


class ProbabilityParams(NamedTuple):
    """Probabilities (K, d)."""

    probabilities: np.ndarray


class _Successes(LinearFamily):
    """Numbers of successes in some trials."""

    parameters = ProbabilityParams
    is_discrete = True
    prior: float

    @abstractmethod
    def _n_trials(self) -> np.ndarray:
        """Trials of each column, or of all."""

    def _centres(self) -> Any:
        """Probabilities from which logarithms are counted."""
        return 0.5

    def natural(self, params: ProbabilityParams) -> tuple[np.ndarray, np.ndarray]:
        centres = self._centres()
        differences = params.probabilities - centres
        failures = log_ratio(1 - params.probabilities, 1 - centres, -differences)
        return log_ratio(params.probabilities, centres, differences) - failures, self._n_trials() * failures

    def excluding(self, params: ProbabilityParams) -> tuple[np.ndarray, np.ndarray] | None:
        never = (params.probabilities == 0).astype(np.float64)
        always = (params.probabilities == 1).astype(np.float64)
        return (never - always, self._n_trials() * always) if never.any() or always.any() else None

    def alike(self, rows: np.ndarray, n_components: int) -> ProbabilityParams:
        return ProbabilityParams(np.full((n_components, rows.shape[1]), 0.5))

    def estimate(self, sums: np.ndarray, cells: np.ndarray) -> ProbabilityParams:
        extra = self.prior - 1
        return ProbabilityParams(np.clip((sums + extra) / (self._n_trials() * cells + 2 * extra), 0, 1))

    def log_prior(self, params: ProbabilityParams) -> float:
        p = params.probabilities
        return float(np.sum(xlogy(self.prior - 1, p) + xlogy(self.prior - 1, 1 - p)))

    def displace(self, params: ProbabilityParams, k: int, rng: np.random.RandomState) -> ProbabilityParams:
        p = params.probabilities.copy()
        inner = np.clip(p[k], 0.01, 0.99)
        p[k] = 1 / (1 + (1 / inner - 1) * np.exp(0.5 * rng.standard_normal(p.shape[1])))
        return ProbabilityParams(p)

    def check_settings(self) -> None:
        check_concentration(self.prior)

    def check_params(self, params: ProbabilityParams, n_components: int, n_features: int) -> None:
        super().check_params(params, n_components, n_features)
        if (params.probabilities < 0).any() or (params.probabilities > 1).any():
            raise ValueError("The parameter 'probabilities' must lie between 0 and 1.")

    def sample(self, params: ProbabilityParams, k: int, n: int, rng: np.random.RandomState) -> np.ndarray:
        p = params.probabilities[k]
        trials = np.broadcast_to(self._n_trials(), p.shape).astype(np.int64)
        return rng.binomial(trials, p, size=(n, len(p))).astype(np.float64)

    def means(self, params: ProbabilityParams) -> np.ndarray:
        return np.asarray(self._n_trials() * params.probabilities)


class Bernoulli(_Successes):
    """Bernoulli distributions: 1 with a probability, else 0, in each column.

    Parameters
    ----------
    prior : float, default=1
        Both concentrations of a beta prior on the probabilities, at least 1; 1 is none.

    Examples
    --------
    >>> import numpy as np
    >>> from fastem import Mixture
    >>> from fastem.families import Bernoulli
    >>> Mixture(Bernoulli()).fit(np.array([[1], [0], [1], [1]])).probabilities_.tolist()
    [[0.75]]
    """

    def __init__(self, prior: float = 1.0):
        self.prior = prior

    def _n_trials(self) -> np.ndarray:
        return np.array(1.0)

    def check(self, rows: np.ndarray, first_row: int) -> None:
        check_values(rows, first_row, (rows != 0) & (rows != 1), "the values must be 0 or 1")

    def natural(self, params: ProbabilityParams) -> tuple[np.ndarray, np.ndarray]:
        failures = log_ratio(1 - params.probabilities, 1.0, -params.probabilities)
        return log_ratio(params.probabilities, 1.0) - failures, failures


class Binomial(_Successes):
    """Binomial distributions: the successes among a known number of trials, in each column.

    Parameters
    ----------
    trials : int or array-like of shape (d,), optional
        Number of trials, of all columns or of each; where it differs from row to row,
        ``fit(X, trials=...)`` gives it.
    prior : float, default=1
        Both concentrations of a beta prior on the probabilities, at least 1; 1 is none.
    centres : array-like of shape (d,), optional
        Probabilities from which logarithms are counted, so that large counts lose no digits; set
        when data are met.

    Examples
    --------
    >>> import numpy as np
    >>> from fastem import Mixture
    >>> from fastem.families import Binomial
    >>> Mixture(Binomial(10)).fit(np.array([[2], [4]])).probabilities_.round(6).tolist()
    [[0.3]]
    """

    takes_beside = ("trials",)

    def __init__(self, trials: Any = None, prior: float = 1.0, centres: Any = None):
        self.trials = trials
        self.prior = prior
        self.centres = centres

    def of_trials(self) -> Family[Any, Any]:
        return BinomialOfTrials(self.prior)

    def anchored(self, rows: np.ndarray) -> Self:
        if self.trials is None:
            raise ValueError("Binomial needs its number of trials: Binomial(10), or fit(X, trials=...).")
        if self.centres is not None or self._n_trials().shape not in ((), (rows.shape[1],)):
            return self
        return type(self)(self.trials, self.prior, middle_shares(rows, np.broadcast_to(self._n_trials(), rows.shape)))

    def check_bound(self, n_features: int) -> None:
        trials = check_array("trials", self.trials, np.shape(self.trials) and (n_features,), least=1)
        if (trials % 1 != 0).any() or (trials > LARGEST_COUNT).any():
            raise ValueError(f"trials must be whole numbers up to {LARGEST_COUNT}, not {self.trials!r}.")
        _check_centres(self.centres, n_features)

    def _centres(self) -> Any:
        return 0.5 if self.centres is None else np.asarray(self.centres)

    def _n_trials(self) -> np.ndarray:
        return np.asarray(self.trials, dtype=np.float64)

    def check(self, rows: np.ndarray, first_row: int) -> None:
        if self.trials is None:
            return
        trials = self._n_trials()
        if trials.shape not in ((), (rows.shape[1],)) or not (trials >= 1).all() or (trials % 1 != 0).any():
            raise ValueError(f"trials must be a whole number from 1 on, or one of each column, not {self.trials!r}.")
        check_counts(rows, first_row)
        check_values(rows, first_row, rows > trials, "there cannot be more successes than trials")

    def base(self, rows: np.ndarray) -> np.ndarray:
        """``log (n! / (x! (n - x)!) c^x (1 - c)^(n - x))`` with the centre c of each column."""
        found = np.zeros(len(rows))
        trials = np.broadcast_to(self._n_trials(), rows.shape[1])
        centres = np.broadcast_to(self._centres(), rows.shape[1])
        for x, n, c in zip(rows.T, trials, centres, strict=True):
            found -= tabled(_surprise, x, n, c)
        return found

    def base_terms(self, n_features: int) -> Factor:
        trials = np.broadcast_to(self._n_trials(), n_features)
        terms, sums = [], []
        for j, (n, c) in enumerate(zip(trials, np.broadcast_to(self._centres(), n_features), strict=True)):
            terms += [Term(j, None, n * c, constant=float(excess(n))), Term(n_features + j, None, n * (1 - c))]
            sums.append(Sum([j], [-1.0], n))
        return Factor(terms, sums)


class BinomialOfTrials(PairedFamily, _Successes):
    """Binomial distributions of which each cell has its own number of trials.

    `Binomial` becomes it where ``fit(X, trials=...)`` gives the numbers of trials, which follow the
    successes in the rows. Samples are of one trial.

    Parameters
    ----------
    prior, centres
        As of `Binomial`.
    """

    beside = "trials"

    def __init__(self, prior: float = 1.0, centres: Any = None):
        self.prior = prior
        self.centres = centres

    def anchored(self, rows: np.ndarray) -> Self:
        return type(self)(self.prior, middle_shares(*self.halves(rows)) if self.centres is None else self.centres)

    def check_bound(self, n_features: int) -> None:
        _check_centres(self.centres, self.n_counted(n_features))

    def _n_trials(self) -> np.ndarray:
        return np.array(1.0)

    def _centres(self) -> Any:
        return 0.5 if self.centres is None else np.asarray(self.centres)

    def check(self, rows: np.ndarray, first_row: int) -> None:
        successes, trials = self.halves(rows)
        check_counts(successes, first_row)
        check_values(trials, first_row, ~((trials >= 0) & (trials == np.floor(trials))), "trials are whole numbers")
        check_values(successes, first_row, successes > trials, "there cannot be more successes than trials")

    def base(self, rows: np.ndarray) -> np.ndarray:
        successes, trials = self.halves(rows.astype(np.float64))
        return -np.nansum(_surprise(successes, trials, self._centres()), axis=1)

    def base_terms(self, n_features: int) -> Factor:
        d = n_features // 2
        terms, sums = [], []
        for j, c in enumerate(np.broadcast_to(self._centres(), d)):
            terms += [Term(j, d + j, c), Term(2 * d + j, d + j, 1 - c), Term(d + j, None, 0.0, sign=1.0)]
            sums.append(Sum([d + j, j], [1.0, -1.0]))
        return Factor(terms, sums)

    def start_features(self, rows: np.ndarray) -> np.ndarray:
        successes, trials = self.halves(rows)
        return np.asarray((successes + 0.5) / (trials + 1))

    def alike(self, rows: np.ndarray, n_components: int) -> ProbabilityParams:
        return ProbabilityParams(np.full((n_components, rows.shape[1] // 2), 0.5))

    def natural(self, params: ProbabilityParams) -> tuple[np.ndarray, np.ndarray]:
        slopes = np.hstack(super().natural(params))
        return slopes, np.zeros_like(slopes)

    def excluding(self, params: ProbabilityParams) -> tuple[np.ndarray, np.ndarray] | None:
        found = super().excluding(params)
        return None if found is None else (np.hstack(found), np.zeros((len(found[0]), 2 * found[0].shape[1])))


def _check_centres(centres: Any, n_columns: int) -> None:
    """Raise ValueError unless there are no centres, or one between 0 and 1 of each column."""
    check_column_values("centres", centres, n_columns)
    if centres is not None and not (np.asarray(centres) < 1).all():
        raise ValueError("centres must be below 1.")


def middle_shares(successes: np.ndarray, trials: np.ndarray) -> np.ndarray:
    """Shares of successes in each column, neither 0 nor 1, from which there is nothing to count."""
    sound = np.isfinite(successes) & (successes >= 0)
    sums = np.where(sound, successes, 0).sum(axis=0, dtype=np.float64)
    of = np.where(sound, trials, 0).sum(axis=0, dtype=np.float64)
    return np.clip((sums + 0.5) / (of + 1), 0.001, 0.999)


def _surprise(x: np.ndarray, n: Any, c: Any) -> np.ndarray:
    """Minus the log-density of n trials with probability c."""
    y = np.maximum(n - x, 0)
    expected = np.maximum(n * c, 1e-300), np.maximum(n * (1 - c), 1e-300)
    return excess(x) + excess(y) - excess(np.atleast_1d(n)) + deviance(x, expected[0]) + deviance(y, expected[1])

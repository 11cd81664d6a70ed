"""What a model is to the loop: parameters, passes over data, sums, M-steps.

Parameters, sums and what a model remembers are NamedTuples of arrays, nested ones too: checkpoints, clusters and
averages need to know no more of them. `fastem.latent.mixture` has a model with components, `fastem.EM` one without.
"""

from typing import Any, NamedTuple, Protocol, TypeVar

import numpy as np

from fastem.kernels.launches import Launches

__all__ = ["Block", "DegenerateError", "Domain", "Model", "Pass", "Shape", "Step"]

P = TypeVar("P", bound=tuple[Any, ...])
S = TypeVar("S", bound=tuple[Any, ...])
S_co = TypeVar("S_co", bound=tuple[Any, ...], covariant=True)
M_contra = TypeVar("M_contra", bound=tuple[Any, ...] | None, contravariant=True)


class DegenerateError(ValueError):
    """The data do not determine the parameters."""


class Shape(NamedTuple):
    """What a pass must know of the data: features, kernel dtype, threads to use."""

    n_features: int
    dtype: np.dtype[Any]
    n_threads: int


class Block(NamedTuple):
    """Rows that follow each other, with all that is known beside them.

    Attributes
    ----------
    first_row : int
        Number of the first one.
    rows : ndarray of shape (n, d)
    weights : ndarray of shape (n,) or (0,)
        Empty where each row counts as one.
    given : ndarray or None
        Expectations of hidden variables, in place of those by the parameters.
    allowed : ndarray or None
        What is known of hidden variables, as masks.
    units : ndarray of shape (m + 1,) or None
        Where units begin, counted from the first row, and the number of rows; None if each row is a unit.
    """

    first_row: int
    rows: np.ndarray
    weights: np.ndarray
    given: np.ndarray | None = None
    allowed: np.ndarray | None = None
    units: np.ndarray | None = None


class Step(NamedTuple):
    """Result of an M-step.

    Attributes
    ----------
    params : NamedTuple
    slack : float
        What a bound on the parameters may have cost the mean log-likelihood of a row.
    memory : NamedTuple or None
        What the model remembers until the next M-step.
    events : tuple
        What the user should be told, such as the death of a component. The objective may fall after one.
    """

    params: Any
    slack: float = 0.0
    memory: Any = None
    events: tuple[Any, ...] = ()


class Domain(Protocol):
    """What rows may hold, and what a model wants to know of them all before a fit; `Family` is one."""

    is_surveyed: bool
    takes_missing: bool

    def check(self, rows: np.ndarray, first_row: int) -> None:
        """Raise ValueError that names the first value outside the domain; NaN is none of them."""

    def base(self, rows: np.ndarray) -> np.ndarray | None:
        """Log of the factor of each row's density that has no parameters, shape (n,); None if it is 1."""

    def reach(self, rows: np.ndarray) -> np.ndarray:
        """The table sizes that some rows need, of which the largest ones count for all rows."""

    def widened(self, reach: np.ndarray) -> Any:
        """The domain itself, or one with tables of such sizes."""


class Pass(Protocol[S_co]):
    """One walk over the data, which blocks are added to."""

    def add(self, block: Block, launches: Launches) -> None:
        """Add rows."""

    def is_finite(self) -> bool:
        """Whether all sums are: no missing or infinite cell has come into them."""

    def finish(self) -> S_co:
        """The sums over all rows, with the fields `log_likelihood` and `weight`."""


class Model(Protocol[P, S, M_contra]):
    """The contract of the loop."""

    @property
    def domain(self) -> Domain:
        """What rows may hold."""

    def start_pass(self, params: P, about: P, shape: Shape, missing: bool) -> Pass[S]:
        """A pass with expectations by `params`, moments about `about`; cells may be `missing`."""

    def objective(self, stats: S, params: P) -> float:
        """What EM makes grow: the mean log-likelihood of a row, with a share of the log prior density."""

    def recentre(self, stats: S, about: P, shape: Shape) -> P | None:
        """A better reference point for moments, where they lost accuracy."""

    def maximize(self, stats: S, about: P, memory: M_contra) -> Step:
        """The M-step."""

"""What a family is: the distribution of one observation in each of K components.

A family holds all components as arrays with a leading K axis. Its data-sized work is two
compiled verbs of `fastem.kernels.dispatch`, registered for the type of its kernel parameters; the rest
touches per-component sums only and is plain NumPy.
"""

import inspect
from abc import abstractmethod
from typing import Any, ClassVar, Generic, NamedTuple, TypeVar

import numpy as np

from fastem.families.abilities import Beside, Facts, Learning, Levels, Named, Params, Tables

__all__ = ["REGISTRY", "Facts", "Family", "Maximized", "Prepared"]

Stats = TypeVar("Stats", bound=tuple[Any, ...])


# The families that model files may name, by the name of their class.
REGISTRY: dict[str, type["Family[Any, Any]"]] = {}


class Prepared(NamedTuple):
    """Parameters as kernels read them; `offset` is to be added to each log-density.

    `kept` is what addresses in the parameters lead to.
    """

    params: Any
    offset: float
    kept: Any = None


class Maximized(NamedTuple):
    """Result of an M-step; `slack` bounds what a floor on the parameters cost the log-likelihood."""

    params: Any
    slack: float = 0.0


class Family(Beside, Learning, Levels, Tables, Named[Params], Generic[Params, Stats]):
    """A distribution with K sets of parameters; see ``fastem.families.positive.exponential`` for one.

    Eight methods must be there: sums of no data, the parameters as kernels read them, a first guess, the M-step, sums
    of data that follow given parameters, a displaced component, the number of free parameters, and draws. The others
    are for what only some families need; abilities have classes of their own in ``fastem.families.abilities``.

    The arguments of the constructor are settings, as of any estimator of scikit-learn. Shapes:
    K components, d features. Parameters and statistics are NamedTuples of arrays.

    Attributes
    ----------
    parameters : type
        NamedTuple of the parameters; its fields name the attributes of a fitted mixture.
    shared : frozenset of str
        Parameters that all components have in common, without a leading K axis.
    is_surveyed : bool
        Whether the rows are looked at once before the fit: for values that the family does not
        take, least and largest values, and `base`.
    takes_missing : bool
        Whether cells may be missing (NaN): the density is then that of the other cells.
    n_noise : int
        Components at the end that have no parameters.
    takes_steps : bool
        Whether an M-step goes only part of the way up, from the parameters of the E-step: a start
        repeats it.
    starts_blind : bool
        Whether k-means on the rows would not help: starts are then random, and several compared.
    has_response : bool
        Whether the last column is a response, which ``fit(X, y)`` brings along as y.
    is_ordered : bool
        Whether components differ in more than their parameters, so that it matters which one has which rows:
        several starts are then compared.
    is_discrete : bool
        Whether its rows, or responses, are whole numbers.
    """

    parameters: ClassVar[type]
    shared: ClassVar[frozenset[str]] = frozenset()
    is_surveyed: ClassVar[bool] = False
    takes_missing: ClassVar[bool] = True
    has_response: ClassVar[bool] = False
    is_discrete: ClassVar[bool] = False
    takes_steps: ClassVar[bool] = False
    starts_blind: ClassVar[bool] = False
    is_ordered: ClassVar[bool] = False
    n_noise: ClassVar[int] = 0

    def __init_subclass__(cls, **options: Any):
        super().__init_subclass__(**options)
        if inspect.isabstract(cls):
            return
        cls._require_survey()
        if cls.__name__.startswith("_"):
            return
        other = REGISTRY.setdefault(cls.__name__, cls)
        if other.__module__ != cls.__module__:
            raise TypeError(f"There is a family {cls.__name__} already, in {other.__module__}: choose another name.")
        REGISTRY[cls.__name__] = cls

    @classmethod
    def _require_survey(cls) -> None:
        """Raise TypeError if the class has methods for a look at the rows that it does not ask for."""
        if inspect.getattr_static(cls, "is_surveyed"):  # a property counts as well
            return
        unasked = [name for name in ("base", "check", "reach") if getattr(cls, name) is not getattr(Family, name)]
        if unasked:
            raise TypeError(
                f"{cls.__name__} defines {' and '.join(unasked)}, but nobody would call it: set is_surveyed = True, "
                "so that the rows are looked at before a fit."
            )

    # --- data -------------------------------------------------------------------------------------

    def check_settings(self) -> None:
        """Raise ValueError unless the constructor's arguments make sense."""
        return

    def check(self, rows: np.ndarray, first_row: int) -> None:
        """Raise ValueError that names the first value outside the domain; NaN is none of them."""
        return

    def base(self, rows: np.ndarray) -> np.ndarray | None:
        """Log of the factor of each row's density that has no parameters, shape (n,); None if it is 1.

        Kernels leave it out. Missing cells contribute nothing.
        """
        return None

    def base_terms(self, n_features: int) -> Any:
        """`base` as kernels can make it, a `Factor` of `fastem.families._factors`; None if they need not or cannot."""
        return None

    def start_features(self, rows: np.ndarray) -> np.ndarray:
        """Rows as k-means should see them; cells may stay missing."""
        return rows

    # --- statistics -------------------------------------------------------------------------------

    @abstractmethod
    def zeros(self, lanes: int, n_components: int, n_features: int) -> Stats:
        """Statistics of no data, with a leading axis of lanes."""

    def statistics_bytes(self, n_components: int, n_features: int) -> int:
        """Memory of one lane's statistics."""
        return _bytes(self.zeros(1, n_components, n_features))

    def parameter_bytes(self, n_components: int, n_features: int) -> int:
        """Memory of one set of parameters, roughly."""
        return self.statistics_bytes(n_components, n_features)

    def kernel_statistics(self, stats: Stats) -> Any:
        """The statistics as kernels add to them."""
        return stats

    def scratch(self, n_components: int, n_features: int, tile_rows: int) -> int:
        """Numbers of scratch space that the kernels need for a tile.

        They are zeros at first, and nobody else writes to them: kernels may keep there what stays
        true during a pass, and `add_statistics` finds what `log_density` made of the same tile.
        """
        return 0

    def incomplete_scratch(self, n_components: int, n_features: int, tile_rows: int) -> int:
        """The same where cells are missing."""
        return self.scratch(n_components, n_features, tile_rows)

    @abstractmethod
    def prepare(
        self, params: Params, about: Params, log_weights: np.ndarray, dtype: np.dtype[Any], missing: bool
    ) -> Prepared:
        """Kernel parameters: densities by `params` times weights, moments about `about`.

        Their type chooses the kernels. Where `missing` is false, no cell is NaN, unless the
        sums may become NaN too.
        """

    def recentre(
        self, stats: Stats, counts: np.ndarray, about: Params, dtype: np.dtype[Any], frozen: frozenset[str]
    ) -> Params | None:
        """A better reference point for the moments, where so far away from `about` they lost accuracy.

        It takes the place of `about` in the M-step, so parameters whose names are `frozen` stay in it.
        """
        return None

    def move(self, stats: Stats, counts: np.ndarray, about: Params, to: Params) -> Stats:
        """Statistics about `to` from those about `about`: the same ones, if they have no reference point."""
        return stats

    # --- parameters -------------------------------------------------------------------------------

    @abstractmethod
    def maximize(
        self, stats: Stats, counts: np.ndarray, about: Params, dead: np.ndarray, frozen: frozenset[str]
    ) -> Maximized:
        """M-step from sums over the data; `counts` are the sums of responsibilities, shape (K,).

        Components in the mask `dead` have no weight and keep the parameters of `about`, as all
        do those parameters whose names are `frozen`.
        """

    def log_prior(self, params: Params) -> float:
        """Log of the parameters' prior density, up to a constant: 0 without one."""
        return 0.0

    @abstractmethod
    def expected(self, params: Params, counts: np.ndarray) -> Stats:
        """Statistics, about `params`, of data that follow `params`; `counts` is the weight of each component."""

    @abstractmethod
    def displace(self, params: Params, k: int, rng: np.random.RandomState) -> Params:
        """`params` with component k moved by about a standard deviation."""

    def split(self, params: Params, into: int, source: int, rng: np.random.RandomState) -> Params:
        """`params` with component `into` replaced by a displaced copy of component `source`."""
        order = np.arange(self.n_components(params))
        order[into] = source
        return self.displace(self.take(params, order), into, rng)

    def excludes(self, params: Params) -> bool:
        """Whether there are rows that are impossible under a component."""
        return False

    def at_floor(self, params: Params) -> np.ndarray:
        """The mask (K, d) of columns in which a component is as narrow as it may be; (K, 0) if nothing bounds it."""
        return np.zeros((self.n_components(params), 0), bool)

    @property
    def has_prior(self) -> bool:
        """Whether the parameters have a prior, which counts as some observations of weight 1."""
        return getattr(self, "prior", None) not in (None, 1)

    @abstractmethod
    def n_parameters(self, n_components: int, n_features: int) -> int:
        """Free parameters of all components together."""

    # --- rows -------------------------------------------------------------------------------------

    @abstractmethod
    def sample(self, params: Params, k: int, n: int, rng: np.random.RandomState) -> np.ndarray:
        """`n` draws from component k, shape (n, d)."""

    def ellipses(self, params: Params) -> tuple[np.ndarray, np.ndarray, np.ndarray] | None:
        """Means (K, d), scale matrices (K, d, d), degrees of freedom (K,) of elliptical components, if they are."""
        return None

    def means(self, params: Params) -> np.ndarray:
        """Expected values of each component, shape (K, d)."""
        raise NotImplementedError(f"{type(self).__name__} has no means to fill missing cells with.")

    def complete(self, params: Params, k: int, rows: np.ndarray, rng: np.random.RandomState | None) -> np.ndarray:
        """`rows` with missing cells filled as component k would: by conditional means, or draws from `rng`."""
        filled = self.means(params)[k] if rng is None else self.sample(params, k, len(rows), rng)
        return np.where(np.isnan(rows), filled, rows)

    # --- helpers ----------------------------------------------------------------------------------

    def n_components(self, params: Params) -> int:
        """K."""
        own = next(value for name, value in params._asdict().items() if name not in self.shared)  # type: ignore[attr-defined]
        return len(own)

    def take(self, params: Params, order: np.ndarray) -> Params:
        """The components with the given numbers, in that order."""
        fields = params._asdict()  # type: ignore[attr-defined]  # a NamedTuple
        return type(params)(*(v.copy() if name in self.shared else v[order] for name, v in fields.items()))

    def keep(self, params: Params, about: Params, dead: np.ndarray, frozen: frozenset[str]) -> Params:
        """`params`, but those of `about` in dead components and of frozen names."""
        kept = []
        for name, new in params._asdict().items():  # type: ignore[attr-defined]  # a NamedTuple
            old = getattr(about, name)
            mask = dead.reshape(-1, *(1,) * (np.ndim(new) - 1)) if name not in self.shared else np.array(False)
            kept.append(old if name in frozen else np.where(mask, old, new))
        return type(params)(*kept)

    def hold(self, params: Params, old: Params, frozen: frozenset[str]) -> Params:
        """`params`, but those of `old` whose names are frozen."""
        return self.keep(params, old, np.zeros(self.n_components(params), bool), frozen)


def _bytes(values: Any) -> int:
    return sum(map(_bytes, values)) if isinstance(values, tuple) else int(values.nbytes)

"""Model files with a right checksum whose contents no fit could have left: refused, before anything trusts them."""

import json

import numpy as np
import pytest
from scipy import stats

import fastem
from fastem import Mixture
from fastem.families import (
    Bernoulli,
    Binomial,
    Categorical,
    DirichletMultinomial,
    Gaussian,
    GaussianPrior,
    LinearRegression,
    LogNormal,
    Multinomial,
    NegativeBinomial,
    Poisson,
    PoissonRegression,
    Product,
    StudentT,
    VonMisesFisher,
    Weibull,
)
from fastem.storage.array_file import ModelFileError, read
from tests.model_files import array_of, with_array, with_setting, with_value

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
NAN, INF = float("nan"), float("inf")
HUGE = (2**54, 2**60, 2**70, 1e300, -1, 2.5, NAN, True, "7", [3])


def _models():
    rng = np.random.default_rng(0)
    counts = rng.poisson(3, size=(60, 2)).astype(float)
    overdispersed = np.array([rng.multinomial(20, p) for p in rng.dirichlet([2, 3], 60)], float)
    positive = rng.gamma(3, size=(60, 2))
    normal = rng.normal(size=(60, 2))
    directions = normal / np.linalg.norm(normal, axis=1, keepdims=True)
    mixed = np.column_stack([rng.poisson(3, 60), rng.integers(3, size=(60, 2)), positive])
    product = Product({0: Poisson(), (1, 2): Categorical(), 3: LogNormal(), 4: NegativeBinomial()})
    mixed[:, 4] = counts[:, 0]
    return {
        "poisson": lambda make: make(Poisson()).fit(counts),
        "exposed": lambda make: make(Poisson()).fit(counts, exposure=positive),
        "exposed_negative": lambda make: make(NegativeBinomial()).fit(counts, exposure=positive),
        "binomial": lambda make: make(Binomial(20)).fit(counts),
        "of_trials": lambda make: make(Binomial()).fit(counts, trials=counts + 2),
        "multinomial": lambda make: make(Multinomial()).fit(counts),
        "dirichlet": lambda make: make(DirichletMultinomial()).fit(overdispersed),
        "negative": lambda make: make(NegativeBinomial()).fit(counts),
        "categorical": lambda make: make(Categorical()).fit(counts),
        "weibull": lambda make: make(Weibull()).fit(positive),
        "censored": lambda make: make(Weibull()).fit(positive, censored=positive > 4),
        "log_normal": lambda make: make(LogNormal()).fit(positive),
        "directions": lambda make: make(VonMisesFisher()).fit(directions),
        "gaussian": lambda make: make(Gaussian("full", prior=GaussianPrior())).fit(normal),
        "student": lambda make: make(StudentT("diag")).fit(normal),
        "linear": lambda make: make(LinearRegression()).fit(normal, normal[:, 0]),
        "offset": lambda make: make(PoissonRegression()).fit(normal, counts[:, 0], offset=normal[:, 0]),
        "noise": lambda make: make(Gaussian("diag"), noise=True).fit(normal),
        "density": lambda make: make(Gaussian("diag"), noise=0.1).fit(normal),
        "product": lambda make: make(product).fit(mixed),
        "online": lambda make: make(Poisson(prior=(2.0, 1.0))).partial_fit(counts),
    }  # fmt: skip


@pytest.fixture(scope="module")
def content(tmp_path_factory):
    """Files of models, made when they are asked for."""
    path = tmp_path_factory.mktemp("models") / "m.fastem"
    makers, made = _models(), {}

    def of(name):
        if name not in made:
            makers[name](lambda family, **more: Mixture(family, 2, random_state=0, max_iter=2, **more)).save(path)
            made[name] = path.read_bytes()
        return made[name]

    return of


def _load(tmp_path, content):
    path = tmp_path / "m.fastem"
    path.write_bytes(content)
    return fastem.load(path)


def _refused(tmp_path, content, match="not a sound model"):
    with pytest.raises(ModelFileError, match=match):
        _load(tmp_path, content)


@pytest.mark.parametrize("name", list(_models()))
def test_sound_files_are_taken(tmp_path, content, name):
    model = _load(tmp_path, content(name))
    model.save(tmp_path / "again.fastem")
    (facts, arrays), (again, others) = read(tmp_path / "m.fastem"), read(tmp_path / "again.fastem")
    assert [json.loads(facts[part]) for part in ("params", "fitted")] == [
        json.loads(again[part]) for part in ("params", "fitted")
    ]
    assert arrays.keys() == others.keys()
    for key, array in arrays.items():
        np.testing.assert_array_equal(array, others[key])


VECTORS = (
    [1.0],
    [1.0, 2.0, 3.0],
    [[1.0, 2.0]],
    [1.0, NAN],
    [INF, 1.0],
    [-1.0, 1.0],
    [0.0, 1.0],
    "11",
    3.0,
    [None, 1.0],
)
PAIRS = ([1.0, 2.0], [[1.0], [2.0]], [[1.0, NAN], [2.0, 2.0]], [[1.0, 2.0]] * 3, "ab", INF)
FLOORS = (*PAIRS, [[-1.0, 0.0], [0.0, 0.0]], 0.5)
WEIBULLS = ("weibull", "censored")
SETTINGS = [
    *[(name, "centres", value) for name in ("poisson", "exposed", "multinomial") for value in VECTORS],
    *[(name, "centres", value) for name in ("binomial", "of_trials") for value in (*VECTORS, [0.5, 1.0])],
    *[("binomial", "trials", value) for value in (0, -3, 2.5, NAN, INF, 2**60, [5], [5, 0], "9", None)],
    *[(name, "n_trials", value) for name in ("multinomial", "dirichlet") for value in (*HUGE, None)],
    *[(name, "largest", value) for name in ("negative", "exposed_negative", "dirichlet") for value in HUGE],
    *[("exposed_negative", "exposures", value) for value in (
        [1.0], [1.0, 2.0, 3.0], [2.0, 1.0], [0.0, 1.0], [-1.0, 1.0], [1.0, NAN], [1.0, INF], [1e-300, 1.0], "12", 3.0)],
    *[("categorical", "levels", value) for value in (
        None, [3], [3, 3, 3], [0, 3], [-1, 3], [2**40, 3], [10**6, 10**6], [2.5, 3], [NAN, 3], 5, "34", [[3, 3], 3])],
    *[("categorical", "prior", value) for value in (0.5, NAN, "1")],
    *[(name, "log_range", value) for name in WEIBULLS for value in (None, *PAIRS, [[3.0, 3.0], [1.0, 4.0]])],
    *[(name, "units", value) for name in (*WEIBULLS, "log_normal") for value in VECTORS],
    *[(name, "floor", value) for name in (*WEIBULLS, "log_normal", "gaussian", "student") for value in FLOORS],
    *[(name, "reg_covar", value) for name in ("gaussian", "student") for value in (-1.0, NAN, INF, [1.0], "1")],
    *[("student", "dofs", value) for value in (-1.0, NAN, "3", [3.0])],
    ("student", "shared_dofs", "yes"), ("student", "shared_dofs", 2),
    *[(name, "bounds", value) for name in ("linear", "offset") for value in (
        None, NAN, "abc", [[0.0] * 3] * 2, [[0.0] * 2] * 3, [[0.0, NAN, 0.0]] * 3, [[0.0] * 3, [1.0] * 3, [0.0] * 3])],
    ("offset", "has_offset", False), ("offset", "has_offset", 7), ("linear", "fit_intercept", "no"),
    *[("noise", "log_cells", value) for value in ([1.0], [1.0, NAN], [[1.0, 1.0]], None, "ab", [-INF, 1.0])],
    *[("noise", "lows", value) for value in ([1.0], [1.0, NAN], None, "ab", 0.0)],
    *[("density", "density", value) for value in (-1.0, NAN, 0.0, "1", [1.0])],
    *[("product", "columns", value) for value in (
        None, [], [[0], [1, 2], [3]], [[0], [1, 2], [3], [-1]], [[0], [1, 2], [3], [5]], [[0], [1, 2], [3], [3]],
        [[0], [1, 2], [3], [2**40]], [[0], [1, 2], [3], [4.0]], [[0], [1, 2], [3], [True]], [[0], [1, 2], [3, 4], []],
        [[0, 1, 2, 3, 4]], [0, [1, 2], 3, 4], "abcd", [[0], [1], [3, 2], [4]], [["0"], [1, 2], [3], [4]])],
]  # fmt: skip


@pytest.mark.parametrize(("name", "setting", "value"), SETTINGS)
def test_settings_that_no_data_could_teach(tmp_path, content, name, setting, value):
    _refused(tmp_path, with_setting(content(name), [setting], value))


@pytest.mark.parametrize(
    ("name", "path", "value"),
    [
        ("product", ["parts", 3, "largest"], 2**60), ("product", ["parts", 0, "centres"], [NAN]),
        ("product", ["parts", 1, "levels"], [3, 2**50]), ("product", ["parts", 2, "units"], [1.0, 1.0]),
        ("noise", ["family", "floor"], [[NAN, 0.0], [0.0, 0.0]]), ("noise", ["family"], "Gaussian"),
        ("gaussian", ["prior", "scale"], [[1.0]]), ("gaussian", ["prior", "mean"], [NAN, 1.0]),
        ("gaussian", ["prior", "dof"], INF), ("gaussian", ["prior", "shrinkage"], -1.0), ("gaussian", ["prior"], 3.0),
    ],
)  # fmt: skip
def test_settings_of_inner_families(tmp_path, content, name, path, value):
    _refused(tmp_path, with_setting(content(name), path, value))


COUNTS_OF_COLUMNS = ([2], None, "2", 2.0, True, 0, -2, 3, 10**6, 2**40, 2**70, NAN)


@pytest.mark.parametrize("attribute", ["n_features_in_", "n_columns_"])
@pytest.mark.parametrize("value", COUNTS_OF_COLUMNS, ids=repr)
@pytest.mark.parametrize("name", ["poisson", "gaussian", "linear", "exposed", "exposed_negative", "censored"])
def test_numbers_of_columns(tmp_path, content, name, attribute, value):
    if name in ("linear", "exposed", "exposed_negative", "censored") and value == 3 and attribute == "n_features_in_":
        value = 7
    if name == "linear" and value == 3:
        value = 4
    if isinstance(value, list):  # as arrays, lists of whole numbers are filed
        changed = with_array(content(name), f"fitted.{attribute}", value)
    else:
        changed = with_value(content(name), "fitted", attribute, value)
    _refused(tmp_path, changed)


@pytest.mark.parametrize(
    ("attribute", "value"),
    [
        ("converged_", 1), ("converged_", "yes"), ("stop_reason_", 3), ("lower_bound_", None), ("lower_bound_", "1"),
        ("log_likelihood_", [1.0]), ("n_parameters_", 2.5), ("n_iter_", True), ("n_iter_", 2.0), ("total_weight_", NAN),
        ("total_weight_", -1.0), ("total_weight_", 0.0), ("total_weight_", INF), ("fit_seconds_", "fast"),
        ("feature_names_in_", ["a"]), ("feature_names_in_", "ab"), ("feature_names_in_", [1, 2]),
    ],
)  # fmt: skip
def test_records(tmp_path, content, attribute, value):
    _refused(tmp_path, with_value(content("poisson"), "fitted", attribute, value))


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("lower_bounds_", [NAN, 1.0]), ("lower_bounds_", [[1.0, 2.0]]), ("history_.objective", [NAN, 1.0]),
        ("history_.change", [[1.0], [2.0]]), ("history_.seconds", [1.0]), ("deaths_", [5]), ("deaths_", [-1]),
        ("deaths_", [0.5]), ("deaths_", [[0]]), ("saddles_", [99]), ("at_floor_", [[0, 9]]), ("at_floor_", [[-1, 0]]),
        ("at_floor_", [0, 1, 2]),
    ],
)  # fmt: skip
def test_histories(tmp_path, content, name, values):
    _refused(tmp_path, with_array(content("poisson"), f"fitted.{name}", values))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("state.step", -5), ("state.step", 0), ("state.step", NAN), ("state.weight", -1.0), ("state.weight", INF),
        ("state.stats.weight", 0.0), ("state.stats.counts", -1.0), ("state.stats.family.first", NAN),
        ("state.params.weights", 0.9), ("state.params.components.rates", 99.0),
    ],
)  # fmt: skip
def test_states_of_partial_fit(tmp_path, content, name, value):
    values = array_of(content("online"), f"fitted.online_.{name}").astype(float)
    values[(0,) * values.ndim] = value
    _refused(tmp_path, with_array(content("online"), f"fitted.online_.{name}", values), "online_")
    _refused(tmp_path, with_array(content("online"), f"fitted.online_.{name}", np.append(values, 1.0)), "online_")


@pytest.mark.parametrize(
    ("name", "parameter", "value"),
    [
        ("directions", "concentrations_", 9e18), ("directions", "concentrations_", -1.0),
        ("dirichlet", "concentrations_", 1e200), ("categorical", "probabilities_.0", 2.0),
    ],
)  # fmt: skip
def test_parameters_that_no_fit_reaches(tmp_path, content, name, parameter, value):
    header_name = f"fitted.{parameter}" if name != "categorical" else "inner.fitted.probabilities_.0"
    values = array_of(content(name), header_name)
    values[(0,) * values.ndim] = value
    _refused(tmp_path, with_array(content(name), header_name, values))


def test_a_family_of_another_kind(tmp_path, content):
    other = with_setting(content("noise"), ["family"], None)
    _refused(tmp_path, other)
    for noise in (True, 0.5):
        _refused(tmp_path, with_value(content("poisson"), "params", "noise", noise))
    _refused(tmp_path, with_value(content("poisson"), "fitted", "family_", "Poisson"))
    _refused(tmp_path, with_value(content("poisson"), "params", "n_components", 2**40))
    negative = {"class": "NegativeBinomial", "settings": {"pairs": [["largest", 9]]}}
    _refused(tmp_path, with_value(content("poisson"), "fitted", "family_", negative))


# --- drawing ----------------------------------------------------------------------------------


@pytest.mark.parametrize("kappa", [0.5, 30.0, 1e6, 9e15])
def test_directions_are_drawn_however_concentrated(kappa):
    """Cosines of angles against the law of SciPy; far out, where it is that of a gamma distribution."""
    d = 3
    rows = VonMisesFisher().sample(
        VonMisesFisher.parameters(np.array([[0.0, 0.0, 1.0]]), np.array([kappa])), 0, 4000, np.random.RandomState(0)
    )
    np.testing.assert_allclose(np.linalg.norm(rows, axis=1), 1, rtol=1e-12)
    across = np.square(rows[:, :2]).sum(axis=1)
    if kappa <= 30:
        truth = stats.vonmises_fisher([0, 0, 1], kappa).rvs(4000, random_state=np.random.default_rng(1))
        assert stats.ks_2samp(across, np.square(truth[:, :2]).sum(axis=1)).pvalue > 1e-3
    else:  # kappa (1 - w) is gamma((d - 1) / 2), and 1 - w half the square across
        assert stats.kstest(kappa * across / 2, stats.gamma((d - 1) / 2).cdf).pvalue > 1e-3


def test_counts_are_drawn_however_many():
    family = DirichletMultinomial(largest=10, n_trials=2**53)
    params = DirichletMultinomial.parameters(np.array([[9e15, 3e15, 1e-3]]))
    rows = family.sample(params, 0, 50, np.random.RandomState(0))
    np.testing.assert_allclose(rows[:, :2].mean(axis=0) / 2**53, [0.75, 0.25], rtol=1e-6)


@pytest.mark.parametrize("value", [NAN, [1.0, NAN], {"a": np.array([NAN])}], ids=repr)
def test_families_that_check_nothing_themselves_hold_no_nan(value):
    with pytest.raises(ValueError, match="prior is not a number"):
        Bernoulli(prior=value).check_bound(2)
    Bernoulli(prior=2.0).check_bound(2)

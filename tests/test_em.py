"""`fastem.EM`: one's own E-step and M-step, against tables of genetics and fits of the library's own mixtures."""

import json
import re
import warnings
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from numba import njit
from scipy.stats import norm
from sklearn.exceptions import ConvergenceWarning

import fastem
from fastem import EM, Mixture
from fastem.families import Exponential, Gaussian

pytestmark = pytest.mark.filterwarnings("ignore:The fit did not converge")

GENETICS = json.loads((Path(__file__).parent / "reference" / "genetics.json").read_text())["fits"]


# --- tables of counts ---------------------------------------------------------------------------


def linkage(counts):
    def e_step(theta):
        cells = np.array([(2 + theta) / 4, (1 - theta) / 4, (1 - theta) / 4, theta / 4])
        return {"log_likelihood": np.log(cells) @ counts, "hidden": counts[0] * theta / (2 + theta)}

    def m_step(sums, theta):
        return (sums["hidden"] + counts[3]) / (sums["hidden"] + counts[1] + counts[2] + counts[3])

    return e_step, m_step


def abo(counts):
    def e_step(params):
        p, q, r = params
        a, b, ab, o = counts
        cells = np.array([p * p + 2 * p * r, q * q + 2 * q * r, 2 * p * q, r * r])
        aa, bb = a * p * p / cells[0], b * q * q / cells[1]
        alleles = [a + aa + ab, b + bb + ab, a - aa + b - bb + 2 * o]
        return {"log_likelihood": np.log(cells) @ counts, "alleles": alleles}

    def m_step(sums, params):
        return tuple(sums["alleles"] / np.sum(sums["alleles"]))

    return e_step, m_step


def tables(model):
    return pytest.mark.parametrize("fit", [f for f in GENETICS if f["model"] == model], ids=lambda f: str(f["counts"]))


@tables("genetic_linkage")
def test_genetic_linkage(fit):
    steps = linkage(fit["counts"])
    em = EM(*steps, fit["start"], tol=1e-13).fit()
    assert em.converged_ and em.params_ == pytest.approx(fit["theta"], rel=1e-7)
    assert EM(*steps, fit["start"], tol=0, max_iter=40).fit().params_ == pytest.approx(fit["theta"], rel=1e-13)
    assert em.log_likelihood_ == pytest.approx(fit["loglik"], rel=1e-13) and em.total_weight_ == 1
    seen = []
    EM(*steps, fit["start"], tol=0, max_iter=8, callbacks=lambda now: seen.append(now.params)).fit()
    np.testing.assert_allclose(seen, fit["em_iterates_from_start"], rtol=1e-13)


@tables("abo")
def test_blood_groups(fit):
    em = EM(*abo(fit["counts"]), tuple(fit["start"]), tol=1e-14).fit()
    assert em.converged_ and isinstance(em.params_, tuple)
    np.testing.assert_allclose(em.params_, fit["frequencies"], rtol=1e-9)
    assert em.log_likelihood_ == pytest.approx(fit["loglik"], rel=1e-13)
    steps = [EM(*abo(fit["counts"]), tuple(fit["start"]), tol=0, max_iter=n).fit().params_ for n in (1, 2, 3, 4)]
    np.testing.assert_allclose(steps, fit["em_iterates_from_start"], rtol=1e-12)


# --- rows ---------------------------------------------------------------------------------------


class Normals(NamedTuple):
    weights: np.ndarray
    means: np.ndarray
    variances: np.ndarray


START = Normals(np.array([0.5, 0.5]), np.array([-1.0, 1.0]), np.array([1.0, 1.0]))


def normal_e_step(rows, params, weights):
    logs = np.log(params.weights) + norm.logpdf(rows[:, :1], params.means, np.sqrt(params.variances))
    total = np.logaddexp.reduce(logs, axis=1)
    resp = np.exp(logs - total[:, None]) * weights[:, None]
    return {
        "log_likelihood": total @ weights, "counts": resp.sum(axis=0),
        "first": rows[:, 0] @ resp, "second": rows[:, 0] ** 2 @ resp,
    }  # fmt: skip


def normal_m_step(sums, params):
    means = sums["first"] / sums["counts"]
    weights = sums["counts"] / sums["counts"].sum()
    return Normals(weights, means, sums["second"] / sums["counts"] - means**2)


def two_normals(**settings):
    return EM(normal_e_step, normal_m_step, START, **{"tol": 1e-10} | settings)


@pytest.fixture(scope="module")
def values():
    rng = np.random.default_rng(0)
    return np.concatenate([rng.normal(-2, 1, 1500), rng.normal(2, 0.7, 2500)])[rng.permutation(4000), None]


def peer(X, **settings):
    start = {"means": START.means[:, None], "covariances": START.variances[:, None]}
    mixture = Mixture(Gaussian("diag"), 2, weights_init=START.weights, params_init=start, tol=1e-10, max_iter=2000)
    return mixture.fit(X, **settings)


def test_two_normals_as_the_mixture_fits_them(values):
    weights = np.random.default_rng(1).integers(0, 4, len(values))
    for sample_weight in (None, weights, weights * 1e-40):
        em, mixture = two_normals().fit(values, sample_weight=sample_weight), peer(values, sample_weight=sample_weight)
        assert em.converged_ and em.log_likelihood_ == pytest.approx(mixture.log_likelihood_, rel=1e-9)
        np.testing.assert_allclose(em.params_.means, mixture.means_[:, 0], rtol=1e-4)
        np.testing.assert_allclose(em.params_.weights, mixture.weights_, rtol=1e-4)
        assert em.total_weight_ == pytest.approx(mixture.total_weight_)


def test_weights_are_replication(values):
    weights = np.random.default_rng(1).integers(0, 4, len(values))
    once = two_normals(tol=0, max_iter=5).fit(values, sample_weight=weights)
    often = two_normals(tol=0, max_iter=5).fit(np.repeat(values, weights, axis=0))
    for a, b in zip(once.params_, often.params_, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-11)


def test_data_give_the_same_bits_wherever_they_lie(values, tmp_path, monkeypatch):
    monkeypatch.setattr("fastem.latent.steps._PIECE_BYTES", 8 * 1000)
    np.save(tmp_path / "rows.npy", values)
    cuts = np.array_split(values, 7)
    sources = (values, np.asfortranarray(values), tmp_path / "rows.npy", lambda: iter(cuts), cuts)
    fits = [two_normals().fit(X) for X in sources]
    assert len({tuple(np.concatenate(fit.params_)) for fit in fits}) == 1
    assert fits[0].params_.means == pytest.approx([-2, 2], abs=0.2)


def test_on_a_cluster(values):
    dask_array = pytest.importorskip("dask.array")
    here = two_normals().fit(values)
    there = two_normals().fit(dask_array.from_array(values, chunks=(700, 1)))
    for a, b in zip(here.params_, there.params_, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-6)


def censored_e_step(rows, params):
    """Rows of a time, and whether it is censored; a mixture of two exponentials, with its rates."""
    weights, rates = params["weights"], params["rates"]
    times, censored = rows[:, :1], rows[:, 1:]
    logs = np.log(weights) + np.where(censored, -rates * times, np.log(rates) - rates * times)
    total = np.logaddexp.reduce(logs, axis=1)
    resp = np.exp(logs - total[:, None])
    return {
        "log_likelihood": total.sum(), "counts": resp.sum(axis=0),
        "times": (resp * (times + censored / rates)).sum(axis=0),
    }  # fmt: skip


def test_censored_exponentials():
    rng = np.random.default_rng(0)
    times = np.concatenate([rng.exponential(1.0, 1500), rng.exponential(10.0, 1500)])[:, None]
    censored = times > 6
    X = np.hstack([np.minimum(times, 6), censored])

    def m_step(sums, params):
        return {"weights": sums["counts"] / sums["counts"].sum(), "rates": sums["counts"] / sums["times"]}

    start = {"weights": np.array([0.5, 0.5]), "rates": np.array([2.0, 0.2])}
    em = EM(censored_e_step, m_step, start, tol=1e-11, max_iter=5000).fit(X)
    mixture = Mixture(
        Exponential(), 2, weights_init=[0.5, 0.5], params_init={"rates": [[2.0], [0.2]]}, tol=1e-11, max_iter=5000
    ).fit(X[:, :1], censored=censored)
    assert em.log_likelihood_ == pytest.approx(mixture.log_likelihood_, rel=1e-10)
    np.testing.assert_allclose(em.params_["rates"], mixture.rates_[:, 0], rtol=1e-3)


@njit
def compiled_e_step(rows, params):
    log_likelihood, total = 0.0, 0.0
    for i in range(len(rows)):
        log_likelihood += np.log(params) - params * rows[i, 0]
        total += rows[i, 0]
    return log_likelihood, total, len(rows)


def test_compiled_steps():
    """Functions of Numba return tuples, which a function of Python gives names."""
    X = np.random.default_rng(0).exponential(2, (500, 1))

    def e_step(rows, rate):
        return dict(zip(("log_likelihood", "total", "count"), compiled_e_step(rows, rate), strict=True))

    em = EM(e_step, lambda sums, rate: sums["count"] / sums["total"], 1.0).fit(X)
    assert em.params_ == pytest.approx(1 / X.mean(), rel=1e-14)


# --- units --------------------------------------------------------------------------------------


def group_e_step(rows, params, units):
    """Groups with a common effect: a random intercept with known variances 1."""
    sums = np.add.reduceat(rows[:, 0], units[:-1])
    squares = np.add.reduceat((rows[:, 0] - params) ** 2, units[:-1])
    n = np.diff(units)
    effects = (sums - n * params) / (n + 1)
    log_likelihood = -0.5 * (n * np.log(2 * np.pi) + np.log1p(n) + squares - (sums - n * params) ** 2 / (n + 1))
    return {"log_likelihood": log_likelihood.sum(), "residuals": (sums - n * effects).sum(), "n": n.sum()}


def test_units_are_never_cut(tmp_path, monkeypatch):
    monkeypatch.setattr("fastem.latent.steps._PIECE_BYTES", 8 * 20)
    rng = np.random.default_rng(0)
    lengths = rng.integers(1, 30, 60)
    names = np.repeat(np.arange(60) * 7 % 61, lengths)
    X = (3 + np.repeat(rng.normal(size=60), lengths) + rng.normal(size=len(names)))[:, None]
    np.save(tmp_path / "rows.npy", X)
    cuts = np.array_split(X, 13)
    fits = [
        EM(group_e_step, lambda sums, mean: sums["residuals"] / sums["n"], 0.0, tol=1e-13).fit(rows, units=units)
        for rows in (X, tmp_path / "rows.npy", lambda: iter(cuts))
        for units in (lengths, names, names.astype(str))
    ]
    assert len({fit.params_ for fit in fits}) == 1
    # weighted least squares with the marginal covariance of each group
    ends = np.cumsum(lengths)
    precision = [lengths[i] / (1 + lengths[i]) for i in range(60)]
    means = [X[ends[i] - lengths[i] : ends[i]].mean() for i in range(60)]
    assert fits[0].params_ == pytest.approx(np.average(means, weights=precision), rel=4e-6)


def test_units_on_a_cluster():
    dask_array = pytest.importorskip("dask.array")
    X = np.random.default_rng(0).normal(size=(600, 1))
    lengths = np.full(20, 30)
    em = EM(group_e_step, lambda sums, mean: sums["residuals"] / sums["n"], 0.0)
    here = em.fit(X, units=lengths).params_
    assert em.fit(dask_array.from_array(X, chunks=(150, 1)), units=lengths).params_ == pytest.approx(here)
    with pytest.raises(ValueError, match="begins in row 100, within a unit"):
        em.fit(dask_array.from_array(X, chunks=(100, 1)), units=lengths)


@pytest.mark.parametrize(
    ("units", "message"),
    [
        ([2, 2], "sum to 4, but there are 6 rows"),
        ([1, 1, 2, 2, 1, 1], "Rows of the unit 1 lie apart: it begins again in row 4"),
        ([[1]], "not an array of shape"),
        ([7, -1], "sum to 6, but|all of them positive"),
    ],
)
def test_wrong_units(units, message):
    em = EM(group_e_step, lambda sums, mean: sums["residuals"] / sums["n"], 0.0)
    with pytest.raises(ValueError, match=message):
        em.fit(np.ones((6, 1)), units=units)


# --- the loop -----------------------------------------------------------------------------------


def test_a_checkpoint_goes_on_to_the_same_bits(values, tmp_path):
    path = tmp_path / "run.ckpt"

    def stop(now):
        if now.n_iter == 4:
            raise KeyboardInterrupt

    whole = two_normals().fit(values)
    with pytest.raises(KeyboardInterrupt):
        two_normals(callbacks=stop).fit(values, checkpoint=path, checkpoint_every=0)
    resumed = two_normals().fit(values, checkpoint=path)
    assert np.array_equal(np.concatenate(resumed.params_), np.concatenate(whole.params_))
    assert resumed.n_iter_ == whole.n_iter_ and resumed.lower_bounds_ == whole.lower_bounds_
    with pytest.raises(ValueError, match="belongs to another fit: data"):
        two_normals().fit(values + 1, checkpoint=path)

    def another(rows, params, weights):
        return normal_e_step(rows, params, 1.0 * weights)

    other = EM(another, normal_m_step, START, tol=1e-10)
    with pytest.raises(ValueError, match="belongs to another fit: e_step"):
        other.fit(values, checkpoint=path)


def test_the_best_of_several_starts(values):
    """From equal components EM cannot part them: that start loses."""
    starts = iter([START._replace(means=np.zeros(2)), START, START])

    def start(rng):
        return next(starts)

    em = EM(normal_e_step, normal_m_step, start, n_init=2, tol=1e-9).fit(values[:, :1])
    assert em.log_likelihood_ == pytest.approx(two_normals().fit(values).log_likelihood_, rel=1e-9)


def test_starts_are_drawn_from_the_random_state(values):
    def start(rng):
        return START._replace(means=rng.normal(size=2))

    fits = [EM(normal_e_step, normal_m_step, start, tol=0, max_iter=1, random_state=s) for s in (1, 1, 2)]
    means = [em.fit(values).params_.means.tolist() for em in fits]
    assert means[0] == means[1] != means[2]


def test_progress_history_and_verbose_lines(values, capsys):
    seen = []

    class Listener:
        def __call__(self, now):
            seen.append(now)
            return now.n_iter == 3

        def during_pass(self, progress):
            seen.append(progress.rows)

    em = two_normals(callbacks=Listener(), verbose=1, verbose_interval=1).fit(values)
    assert em.stop_reason_ == "a callback stopped the fit" and em.n_iter_ == 3 and not em.converged_
    assert [now.n_iter for now in seen if not isinstance(now, int)] == [1, 2, 3] and len(values) in seen
    assert isinstance(seen[-1].params, Normals)
    assert em.history_["objective"].tolist() == em.lower_bounds_
    assert "Iteration 3" in capsys.readouterr().out


def test_a_prior_counts():
    """The mode of the posterior of a rate under a gamma prior, in one step, whatever the weights' unit."""
    X = np.random.default_rng(0).exponential(2, (50, 1))

    def e_step(rows, rate, weights):
        return {
            "log_likelihood": (np.log(rate) - rate * rows[:, 0]) @ weights,
            "n": weights.sum(), "total": rows[:, 0] @ weights,
        }  # fmt: skip

    def log_prior(rate):
        return 4 * np.log(rate) - 20 * rate

    for unit in (1.0, 1e-20, 1e20):
        em = EM(e_step, lambda sums, rate: (sums["n"] + 4) / (sums["total"] + 20), 3.0, log_prior=log_prior)
        em.fit(X, sample_weight=np.full(50, unit))
        n = 50 * unit
        assert em.converged_ and em.params_ == pytest.approx((n + 4) / (X.sum() * unit + 20), rel=1e-12)


# --- errors -------------------------------------------------------------------------------------


def test_a_fall_is_told(values):
    def wrong(sums, params):
        better = normal_m_step(sums, params)
        return better._replace(means=better.means * (0.5 if sums["log_likelihood"] > -8500 else 1))

    with pytest.warns(ConvergenceWarning, match="The log-likelihood fell at iteration"):
        em = EM(normal_e_step, wrong, START, max_iter=30).fit(values)
    assert not em.converged_


def plain(rows, rate):
    return {"log_likelihood": np.sum(np.log(rate) - rate * rows), "total": rows.sum(), "n": len(rows)}


def ratio(sums, rate):
    return sums["n"] / sums["total"]


@pytest.mark.parametrize(
    ("e_step", "m_step", "message"),
    [
        (lambda rows, rate: {**plain(rows, rate), "total": rows.mean()}, ratio, "The sum 'total' .* does not add"),
        (lambda rows, rate: {**plain(rows, rate), "resp": rows}, ratio, "'resp', has the shape .* and had"),
        (lambda rows, rate: rows.sum(), ratio, "must return the log-likelihood as 'log_likelihood'"),
        (lambda rows, rate: {"log_likelihood": "much"}, ratio, "'log_likelihood', must be made of real numbers"),
        (
            lambda rows, rate: {"log_likelihood": rows.sum() * np.nan},
            ratio,
            "'log_likelihood' .* not finite for the start",
        ),
        (plain, lambda sums, rate: [rate, rate], re.escape("what m_step returns has the shape (2,), and had ()")),
        (plain, lambda sums, rate: {"rate": rate}, "what m_step returns has the items rate"),
        (plain, lambda sums, rate: None, "what m_step returns must be made of real numbers, not None"),
        (plain, lambda sums, rate: np.nan, "not finite"),
    ],
)
def test_wrong_steps(e_step, m_step, message):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        with pytest.raises(ValueError, match=message):
            EM(e_step, m_step, 1.0).fit(np.random.default_rng(0).exponential(2, (50, 1)))


@pytest.mark.parametrize(
    ("make", "given", "error", "message"),
    [
        (lambda: EM(plain, ratio, 1.0), {"sample_weight": np.ones(5)}, ValueError, "no argument 'weights'"),
        (lambda: EM(plain, ratio, 1.0), {"units": [5]}, ValueError, "no argument 'units'"),
        (lambda: EM(plain, ratio, 1.0, n_init=2), {}, ValueError, "starts are all the same"),
        (lambda: EM(plain, None, 1.0), {}, TypeError, "m_step must be a function"),
        (lambda: EM(plain, ratio, "one"), {}, ValueError, "start must be made of real numbers"),
        (lambda: EM(plain, ratio, 1.0, tol=-1), {}, ValueError, "tol must be at least 0"),
    ],
)
def test_wrong_settings(make, given, error, message):
    with pytest.raises(error, match=message):
        make().fit(np.ones((5, 1)), **given)


def test_it_is_public():
    assert fastem.EM is EM and "EM" in fastem.__all__

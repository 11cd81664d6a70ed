"""What every family promises, against densities of SciPy, on complete rows and with missing cells."""

import pickle

import dask.array as da
import numpy as np
import pytest
from scipy import stats
from scipy.special import logsumexp
from sklearn.base import clone

import fastem
from fastem import Mixture
from tests.family_cases import FAMILIES

# Their kernels are like those of other cases, and compile for long.
SLOW = (
    "gaussian_tied", "gaussian_spherical", "student_t_full", "logistic_regression", "dirichlet_multinomial",
    "categorical_of_many_levels", "beta", "log_normal", "components",
)  # fmt: skip

pytestmark = [
    pytest.mark.parametrize(
        "case", [pytest.param(case, marks=pytest.mark.slow if case.name in SLOW else ()) for case in FAMILIES], ids=str
    ),
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning"),
]


def _rows(case, n=700, seed=0, missing=0.0):
    rng = np.random.default_rng(seed)
    rows = case.draw(n, rng)
    holes = rng.random(rows.shape) < missing
    if case.family.has_response:
        holes[:, :-1] = False
    holes[holes.all(axis=1)] = False
    return np.where(holes, np.nan, rows)


def _share(case):
    """Of missing cells, where they are taken."""
    return 0.2 if case.family.takes_missing else 0.0


def _make(case, **settings):
    return Mixture(case.family, 2, **({"random_state": 0, "n_screen": 4} | case.settings | settings))


def _parameters(fit):
    model = (fit.weights_, fit.family_.attributes(fit._fitted().components))
    flat = []

    def walk(value):
        if isinstance(value, tuple | list | dict):
            for item in value.values() if isinstance(value, dict) else value:
                walk(item)
        else:
            flat.append(np.asarray(value))

    walk(model)
    return flat


def _assert_close(a, b, **tolerance):
    for x, y in zip(_parameters(a), _parameters(b), strict=True):
        np.testing.assert_allclose(x, y, **tolerance)
    assert a.log_likelihood_ == pytest.approx(b.log_likelihood_, rel=tolerance.get("rtol", 1e-7))


def _assert_same_bits(a, b):
    for x, y in zip(_parameters(a), _parameters(b), strict=True):
        np.testing.assert_array_equal(x, y)
    assert a.log_likelihood_ == b.log_likelihood_ and a.lower_bounds_ == b.lower_bounds_


def _log_joint(case, fit, rows):
    return np.stack([np.log(w) + case.log_density(fit, k, rows) for k, w in enumerate(fit.weights_)], axis=1)


@pytest.mark.parametrize("has_missing", [False, True], ids=["complete", "missing"])
def test_densities_are_those_of_scipy(case, has_missing):
    if has_missing and not case.family.takes_missing:
        _assert_missing_cells_are_refused(case)
        return
    rows = _rows(case, missing=_share(case) * has_missing)
    fit = _make(case, max_iter=4).fit(rows)
    joint = _log_joint(case, fit, rows)
    log_prob = logsumexp(joint, axis=1)
    np.testing.assert_allclose(fit.score_samples(rows), log_prob, rtol=1e-8, atol=1e-8)
    np.testing.assert_allclose(fit.predict_proba(rows), np.exp(joint - log_prob[:, None]), rtol=1e-7, atol=1e-9)
    np.testing.assert_array_equal(fit.predict(rows), joint.argmax(axis=1))
    assert fit.log_likelihood_ == pytest.approx(log_prob.sum(), rel=1e-9)


def test_objective_never_falls(case):
    fit = _make(case, tol=0, max_iter=60).fit(_rows(case, missing=_share(case)))
    bounds = np.array(fit.lower_bounds_)
    assert np.diff(bounds).min() > -1e-11 * abs(bounds[0])


def test_nothing_leads_up_from_a_converged_fit(case):
    """Differences of the log-likelihood of SciPy in random directions, symmetric about the fit."""
    rows = _rows(case, 300, missing=_share(case))
    fit = _make(case, tol=1e-14, max_iter=4000).fit(rows)
    bound = 1e-6
    slopes = _slopes(case, fit, rows)
    assert max(slopes.values()) < bound, slopes
    away = _slopes(case, fit, rows, at=0.05)  # so that a slope would be seen where there is one
    assert min(away.values()) > 10 * bound, away


def _slopes(case, fit, rows, at=0.0):
    """Of the mean log-likelihood in a random direction of each parameter, at a step away in that direction."""
    rng = np.random.default_rng(1)
    slopes = {}
    for name in ("weights", *fit.family_.attribute_names()):
        if name in ("precisions", "precisions_cholesky"):  # which the truth does not look at
            continue
        noise = _noise(name, getattr(fit, f"{name}_"), rng)
        values = []
        for step in (1e-4, -1e-4):
            moved = pickle.loads(pickle.dumps(fit))
            setattr(moved, f"{name}_", _moved(name, getattr(fit, f"{name}_"), noise, at + step))
            values.append(logsumexp(_log_joint(case, moved, rows), axis=1).mean())
        slopes[name] = abs(values[0] - values[1]) / 2e-4
    return slopes


def _noise(name, values, rng):
    if isinstance(values, dict):
        return {key: _noise(key, value, rng) for key, value in values.items()}
    if isinstance(values, list):
        return [_noise(name, value, rng) for value in values]
    if name == "dofs":  # they may be shared
        return np.ones(np.shape(values))
    noise = rng.normal(size=np.shape(values))
    square = np.ndim(values) >= 2 and values.shape[-1] == values.shape[-2] and name in ("covariances", "scales")
    return (noise + noise.swapaxes(-1, -2)) / 2 if square else noise


def _moved(name, values, noise, step):
    if isinstance(values, dict):
        return {key: _moved(key, value, noise[key], step) for key, value in values.items()}
    if isinstance(values, list):
        return [_moved(name, value, of, step) for value, of in zip(values, noise, strict=True)]
    if name == "intercepts":  # with columns far from 0, coefficients move with them
        return values + step * noise
    if name == "coefs":
        return values + step * noise / 100
    if name == "probabilities" and not np.allclose(values.sum(axis=1), 1):
        return values + step * noise * values * (1 - values)
    moved = values * (1 + step * noise)
    if name == "directions":
        return moved / np.linalg.norm(moved, axis=1, keepdims=True)
    if name in ("probabilities", "weights"):
        return moved / moved.sum(axis=-1, keepdims=True)
    return moved


def _from(case, fit, **settings):
    """The same from the parameters of a fit."""
    params = {name: getattr(fit, f"{name}_") for name in fit.family_.attribute_names()}
    return _make(case, max_iter=5, tol=0, weights_init=fit.weights_, params_init=params, **settings)


def test_weights_are_replication_and_zero_is_deletion(case):
    rows = _rows(case, missing=_share(case))
    repeats = np.random.default_rng(2).integers(0, 3, size=len(rows))
    replicated = np.repeat(rows, repeats, axis=0)
    start = _make(case, max_iter=2).fit(rows)
    weighted = _from(case, start).fit(rows, sample_weight=repeats)
    _assert_close(weighted, _from(case, start).fit(replicated), rtol=1e-6, atol=1e-8)
    assert weighted.bic(rows, sample_weight=repeats) == pytest.approx(weighted.bic(replicated), rel=1e-9)


def test_threads_files_and_parts_give_the_same_bits(case, tmp_path):
    rows = _rows(case, 3001, missing=_share(case))
    whole = _make(case, max_iter=3).fit(rows)
    _assert_same_bits(whole, _make(case, max_iter=3, n_threads=1).fit(rows))
    np.save(tmp_path / "rows.npy", rows)
    from_file = _make(case, max_iter=3).fit(tmp_path / "rows.npy")
    _assert_same_bits(whole, from_file)
    np.testing.assert_array_equal(whole.score_samples(rows), from_file.score_samples(tmp_path / "rows.npy"))
    _assert_same_bits(whole, _make(case, max_iter=3).fit(lambda: iter([rows[:700], rows[700:]])))


def test_dask_gives_the_same_numbers(case):
    rows = _rows(case, 2000, missing=_share(case))
    whole = _make(case, max_iter=3).fit(rows)
    _assert_close(whole, _make(case, max_iter=3).fit(da.from_array(rows, chunks=(600, -1))), rtol=1e-6, atol=1e-8)


# Largest errors of parameters in units of float32's eps, a few times those measured; all others are below 5.
FLOAT32_BOUNDS = {
    "student_t_full": 40,  # degrees of freedom are the root of a flat equation: measured 12
    "gamma": 25,  # shapes follow from the small difference of log of mean and mean of logs: measured 7
    "beta": 10,  # the same: measured 3
    "poisson_regression": 12,  # of the exponential of a rounded linear predictor: measured 3.4
    "logistic_regression": 12,  # the same, of columns that all but separate the responses: measured 3.6
}


@pytest.mark.slow
def test_float32_is_close_to_float64(case):
    """From the same start, on the same numbers, a few iterations lead to the same place.

    Sums are made in float64, and only densities and responsibilities are rounded, which errs at random: what is left
    of an error of some eps in each row is less than one eps in a mean over the rows of a tile.
    """
    rows = _rows(case, 2000, missing=_share(case)).astype(np.float32)
    if case.name == "beta":
        rows = np.clip(rows, 1e-6, 1 - 1e-6)
    start = _make(case, max_iter=10).fit(rows.astype(np.float64))
    single, double = (_from(case, start).fit(rows.astype(dtype)) for dtype in (np.float32, np.float64))
    eps = float(np.finfo(np.float32).eps)
    bound = FLOAT32_BOUNDS.get(case.name, 5) * eps
    assert single.log_likelihood_ == pytest.approx(double.log_likelihood_, rel=bound)
    for x, y in zip(_parameters(single), _parameters(double), strict=True):
        np.testing.assert_allclose(x, y, rtol=0, atol=bound * np.abs(y).max())


def test_save_load_pickle_clone(case, tmp_path):
    rows = _rows(case)
    fit = _make(case, max_iter=3).fit(rows)
    fit.save(tmp_path / "model.fastem")
    for copy in (fastem.load(tmp_path / "model.fastem"), pickle.loads(pickle.dumps(fit))):
        _assert_same_bits(fit, copy)
        np.testing.assert_array_equal(copy.score_samples(rows), fit.score_samples(rows))
        assert repr(copy) == repr(fit)
    assert repr(clone(fit)) == repr(fit) and not hasattr(clone(fit), "weights_")


def test_a_checkpoint_goes_on_to_the_same_bits(case, tmp_path):
    rows = _rows(case, missing=_share(case))
    whole = _make(case, max_iter=6, tol=0).fit(rows)
    path = tmp_path / "run.ckpt"

    def stop(iteration):
        if iteration.n_iter == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        _make(case, max_iter=6, tol=0, callbacks=stop).fit(rows, checkpoint=path, checkpoint_every=0)
    resumed = _make(case, max_iter=6, tol=0).fit(rows, checkpoint=path)
    _assert_same_bits(whole, resumed)


def test_partial_fit_approaches_a_fit(case):
    """Loosely: that each step is right is told by tests/test_online.py, from the recursion itself."""
    rows = _rows(case, 3000)
    whole = _make(case).fit(rows)
    labels = whole.predict(rows[:1000]) % 2
    if case.name == "logistic_regression":  # these labels separate the responses, whose maximum is at infinity
        labels = np.where(np.arange(1000) % 4 == 0, 1 - labels, labels)
    settings = {"init_params": labels}
    if type(case.family).__name__ in ("NegativeBinomial", "DirichletMultinomial"):
        case = type(case)(case.name, clone(case.family).set_params(largest=200), case.draw, case.log_density)
    if case.name == "categorical":
        case = type(case)(case.name, clone(case.family).set_params(levels=[2, 4, 4, 4]), case.draw, case.log_density)
    online = _make(case, **settings).partial_fit(rows[:1000])
    for first in [0, 1000, 2000] * 4:
        online.partial_fit(rows[first : first + 1000])
    assert online.score(rows) == pytest.approx(whole.score(rows), abs=0.05 * abs(whole.score(rows)) + 0.02)


# Chance that one comparison fails where the law is right; all of them together stay below 1e-6.
FALSE_ALARM = 1e-9


def test_samples_follow_the_fit(case):
    """Components against rows that SciPy draws: columns, sums of columns, and densities of rows."""
    fit = _make(case).fit(_rows(case, 2000))
    rows, labels = fit.sample(60_000)
    assert rows.shape == (60_000, fit.n_columns_)
    assert stats.binomtest(int((labels == 0).sum()), len(labels), fit.weights_[0]).pvalue > FALSE_ALARM
    rng = np.random.default_rng(1)
    for k in range(2):
        ours = rows[labels == k]
        _assert_same_law(case, fit, k, ours, case.log_density.redraw(fit, k, ours, rng))


def _assert_same_law(case, fit, k, ours, theirs):
    mean, sd = theirs.mean(axis=0), theirs.std(axis=0)
    directions = np.random.default_rng(2).normal(size=(theirs.shape[1], 5)) / np.where(sd > 0, sd, 1)[:, None]
    views = [np.column_stack([rows, (rows - mean) @ directions]).T for rows in (ours, theirs)]
    for a, b in zip(*views, strict=True):
        assert stats.ks_2samp(a, b, method="asymp").pvalue > FALSE_ALARM
    a, b = (case.log_density(fit, k, rows) for rows in (ours, theirs))
    error = np.sqrt(a.var() / len(a) + b.var() / len(b))
    assert abs(a.mean() - b.mean()) < stats.norm.isf(FALSE_ALARM / 2) * error + 1e-12


def test_samples_of_the_other_component_are_noticed(case):
    """The comparison above can fail: a tenth of the rows comes from the other component."""
    fit = _make(case).fit(_rows(case, 2000))
    rows, labels = fit.sample(60_000)
    ours, others = rows[labels == 0], rows[labels == 1]
    theirs = case.log_density.redraw(fit, 0, ours, np.random.default_rng(1))
    mixed = ours.copy()
    n = min(len(others), len(ours) // 10)
    mixed[:n] = others[:n]
    with pytest.raises(AssertionError):
        _assert_same_law(case, fit, 0, mixed, theirs)


def _assert_missing_cells_are_refused(case):
    rows = _rows(case)
    rows[17, 0] = np.nan
    with pytest.raises(ValueError, match=r"NaN.* in row 17, column 0"):
        _make(case).fit(rows)


def test_imputed_cells_are_filled(case):
    if not case.family.takes_missing:
        _assert_missing_cells_are_refused(case)
        return
    rows = _rows(case, missing=_share(case))
    fit = _make(case, max_iter=20).fit(rows)
    filled = fit.impute(rows)
    np.testing.assert_array_equal(np.where(np.isnan(rows), 0, filled), np.nan_to_num(rows))
    assert np.isfinite(filled).all()
    drawn = fit.impute(rows, random_state=0)
    assert np.isfinite(drawn).all() and not np.array_equal(drawn, filled)
    np.testing.assert_array_equal(drawn, fit.impute(rows, random_state=0))


def test_a_row_without_any_cell_changes_nothing(case):
    if not case.family.takes_missing or case.family.has_response:
        _assert_missing_cells_are_refused(case)
        return
    rows = _rows(case, missing=_share(case))
    nothing = np.full((5, rows.shape[1]), np.nan)
    start = _make(case, max_iter=2).fit(rows)
    plain = _from(case, start).fit(rows)
    more = _from(case, start).fit(np.vstack([rows, nothing]))
    _assert_close(plain, more, rtol=1e-6, atol=1e-9)
    assert more.lower_bounds_ == pytest.approx(plain.lower_bounds_, rel=1e-12)
    np.testing.assert_allclose(more.score_samples(nothing), 0, atol=1e-12)
    np.testing.assert_allclose(more.predict_proba(nothing), np.tile(more.weights_, (5, 1)), rtol=1e-12)


def test_bad_values_are_named(case):
    rows = _rows(case)
    wrong = rows.copy()
    wrong[17, 0] = np.inf
    with pytest.raises(ValueError, match="row 17"):
        _make(case).fit(wrong)
    if not case.family.takes_missing or case.family.has_response:
        _assert_missing_cells_are_refused(case)
    else:
        empty = rows.copy()
        empty[:, 1] = np.nan
        with pytest.raises(ValueError, match="Columns without any value: 1"):
            _make(case).fit(empty)

"""Levels are what occurs, of any kind, and come back as they were."""

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

import fastem
from fastem import LatentClass, Mixture
from fastem.families import Categorical, LogNormal, Poisson, Product

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

CODES = np.random.default_rng(7).integers(0, 4, (400, 3))
WORDS = np.array(["d", "b", "c", "a"])
NAMES = ["x", "y", "z"]


def _columns(make):
    return {name: make(CODES[:, j]) for j, name in enumerate(NAMES)}


TABLES = {
    "from 1": CODES + 1,
    "gaps": np.where(CODES == 3, 9, CODES + 1),
    "large": CODES * 10**9 + 5,
    "negative": CODES - 2,
    "strings": WORDS[CODES],
    "objects": WORDS[CODES].astype(object),
    "lists": WORDS[CODES].tolist(),
    "pandas strings": pd.DataFrame(WORDS[CODES], columns=NAMES),
    "pandas categories": pd.DataFrame(_columns(lambda c: pd.Categorical.from_codes(c + 1, ["unused", *WORDS]))),
    "polars strings": pl.DataFrame(_columns(lambda c: WORDS[c])),
    "polars enum": pl.DataFrame(_columns(lambda c: pl.Series(WORDS[c], dtype=pl.Enum(list(WORDS))))),
    "polars lazy": pl.DataFrame(_columns(lambda c: WORDS[c])).lazy(),
    "arrow strings": pa.table(_columns(lambda c: WORDS[c])),
    "arrow dictionaries": pa.table(_columns(lambda c: pa.array(WORDS[c]).dictionary_encode())),
    "stream": lambda: iter([CODES[:150] + 1, CODES[150:] + 1]),
}


@pytest.mark.parametrize("name", TABLES)
def test_levels_count_as_they_occur(name, tmp_path):
    data = TABLES[name]
    fit = LatentClass(2, random_state=0).fit(data)
    assert fit.n_parameters_ == 1 + 2 * 3 * 3
    assert [len(levels) for levels in fit.categories_] == [4, 4, 4]
    for j, (levels, table) in enumerate(zip(fit.categories_, fit.probabilities_, strict=True)):
        raw = (CODES + 1)[:, j] if name == "stream" else pd.Series(_raw(data)[j])
        shares = pd.Series(raw).value_counts(normalize=True)
        np.testing.assert_allclose(fit.weights_ @ table, [shares[level] for level in levels.tolist()], atol=1e-3)
    drawn, _ = fit.sample(50)
    assert set(drawn[:, 0].tolist()) <= set(fit.categories_[0].tolist())
    fit.save(tmp_path / "model.fastem")
    np.testing.assert_array_equal(fastem.load(tmp_path / "model.fastem").predict(data), fit.predict(data))


def _raw(data):
    if isinstance(data, pl.LazyFrame):
        data = data.collect()
    if isinstance(data, pa.Table):
        return [data.column(j).to_pylist() for j in range(3)]
    if isinstance(data, pl.DataFrame):
        return [data.to_series(j).cast(pl.String).to_list() for j in range(3)]
    return [pd.DataFrame(data).iloc[:, j].tolist() for j in range(3)]


def test_the_order_is_that_of_the_dtype():
    fit = LatentClass(2, random_state=0).fit(TABLES["pandas categories"])
    assert fit.categories_[0].tolist() == list(WORDS)
    assert LatentClass(2, random_state=0).fit(TABLES["strings"]).categories_[0].tolist() == sorted(WORDS)


def test_unknown_levels_are_errors_or_missing():
    fit = LatentClass(2, random_state=0).fit(CODES + 1)
    with pytest.raises(
        ValueError, match="has 5 in row 2, column 1, a level that the fit did not meet: it knows 1, 2, 3, 4"
    ):
        fit.predict(np.array([[1, 1, 1], [2, 2, 2], [1, 5, 2]]))
    lenient = LatentClass(2, random_state=0, handle_unknown="missing").fit(CODES + 1)
    row = np.array([[1.0, np.nan, 2.0]])
    np.testing.assert_array_equal(lenient.predict_proba([[1, 5, 2]]), lenient.predict_proba(row))
    with pytest.raises(ValueError, match="held labels such as"):
        LatentClass(2, random_state=0).fit(TABLES["strings"]).predict(CODES)
    with pytest.raises(ValueError, match="handle_unknown must be"):
        LatentClass(2, handle_unknown="x").fit(CODES)


def test_a_mixed_table_comes_back_in_the_users_words():
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(
        {"income": rng.lognormal(size=300), "region": rng.choice(["N", "S"], 300), "visits": rng.poisson(3, 300)}
    )
    frame.loc[3, "region"] = None
    frame.loc[4, "income"] = np.nan
    family = Product({"income": LogNormal(), "visits": Poisson(), "region": Categorical()})
    fit = Mixture(family, 2, random_state=0).fit(frame)
    assert [None if c is None else c.tolist() for c in fit.categories_] == [None, ["N", "S"], None]
    filled = fit.impute(frame)
    assert filled[3, 1] in ("N", "S") and filled[4, 0] > 0 and filled[5, 1] == frame.region[5]
    resp = fit.predict_proba(frame.iloc[[3]])
    best = fit.categories_[1][np.argmax(resp @ fit.parts_["region"]["probabilities"][0])]
    assert filled[3, 1] == best


def test_levels_of_rows_without_weight_do_not_count():
    X, weights = CODES.copy(), np.ones(400)
    X[:5], weights[:5] = 77, 0
    assert LatentClass(2, random_state=0).fit(X, sample_weight=weights).n_parameters_ == 19

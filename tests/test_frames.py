"""Frames and objects of all kinds: taken, or refused with a message that is true. Truth: NumPy and pandas."""

import datetime
from decimal import Decimal
from fractions import Fraction

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
import scipy.sparse

import fastem
from fastem import GaussianMixture, Mixture, PoissonMixture
from fastem.families import LinearRegression

RNG = np.random.default_rng(0)
X = np.concatenate([RNG.normal(m, 1, (150, 2)) for m in (-4, 4)])
HOLES = np.where(RNG.random(X.shape) < 0.1, np.nan, X)
HOLES[:, 0] = X[:, 0]


def gaussian():
    return GaussianMixture(2, covariance_type="diag", random_state=0)


def _cells(kind):
    """Objects, and the numbers that they are."""
    numbers = np.round(X * 8)
    make = {
        "decimals": lambda x: Decimal(int(x)) / 4,
        "fractions": lambda x: Fraction(int(x), 3),
        "large integers": lambda x: int(x) * 2**70,
        "NA": lambda x: x if x > -30 else pd.NA,
        "None": lambda x: x if x > -30 else None,
        "NA and decimals": lambda x: Decimal(int(x)) if x > -30 else pd.NA,
        "bools": lambda x: bool(x > 0),
    }[kind]
    objects = np.empty(numbers.shape, dtype=object)
    floats = np.empty(numbers.shape)
    for place, x in np.ndenumerate(numbers):
        objects[place] = make(x)
        floats[place] = np.nan if objects[place] is pd.NA or objects[place] is None else float(objects[place])
    return objects, floats


KINDS = ["decimals", "fractions", "large integers", "NA", "None", "NA and decimals", "bools"]
HOLDERS = {
    "array": lambda objects: objects,
    "list": lambda objects: objects.tolist(),
    "pandas": lambda objects: pd.DataFrame({"a": objects[:, 0], "b": objects[:, 1]}, dtype=object),
    "pandas by number": pd.DataFrame,
    "pandas twice": lambda objects: pd.DataFrame(objects, columns=["a", "a"]),
    "stream": lambda objects: lambda: iter([objects[:100], objects[100:]]),
    "Fortran": np.asfortranarray,
}


@pytest.mark.parametrize("holder", HOLDERS)
@pytest.mark.parametrize("kind", KINDS)
def test_objects_are_numbers(kind, holder):
    objects, floats = _cells(kind)
    data = HOLDERS[holder](objects)
    source = fastem.open(data)
    assert source.dtype == np.float64
    np.testing.assert_array_equal(source.read(0, len(X)), floats)


@pytest.mark.parametrize("holder", ["array", "list", "pandas", "stream"])
@pytest.mark.parametrize("kind", ["decimals", "NA"])
@pytest.mark.filterwarnings("ignore:X (has|does not have valid) feature names")
def test_fits_of_objects(kind, holder):
    objects, floats = _cells(kind)
    data = HOLDERS[holder](objects)
    truth = gaussian().fit(floats)
    assert gaussian().fit(data).lower_bounds_ == truth.lower_bounds_
    for method in ("predict", "predict_proba", "score_samples", "impute", "score", "bic"):
        np.testing.assert_array_equal(getattr(truth, method)(data), getattr(truth, method)(floats))
    assert gaussian().partial_fit(data).lower_bounds_ == gaussian().partial_fit(floats).lower_bounds_


def test_responses_of_objects():
    y = np.where(np.arange(300) % 2, X[:, 0], -X[:, 0]).round(3)
    truth = Mixture(LinearRegression(), 2, random_state=0).fit(X[:, :1], y)
    for given in ([Decimal(str(value)) for value in y], pd.Series(y, dtype="Float64"), pl.Series(y)):
        assert Mixture(LinearRegression(), 2, random_state=0).fit(X[:, :1], given).lower_bounds_ == truth.lower_bounds_
    with pytest.raises(ValueError, match="y has 'x' in row 3, which is no real number"):
        Mixture(LinearRegression(), 2).fit(X[:5, :1], np.array([1, 2, 3, "x", 4], dtype=object))


@pytest.mark.parametrize(
    ("cell", "error"),
    [
        ("high", ValueError),
        ({"a": 1}, TypeError),
        (1j, TypeError),
        (10**400, ValueError),
        (datetime.date(2020, 1, 1), TypeError),
    ],
)
def test_a_cell_that_is_no_number_is_named(cell, error):
    objects = X.astype(object)
    objects[7, 1] = cell
    for data in (objects, lambda: iter([objects])):
        for call in (gaussian().fit, gaussian().partial_fit, fastem.open, gaussian().fit(X).predict):
            with pytest.raises(error, match=r"in row 7, column 1, which is no real number.*Use None or NaN"):
                call(data)
    frame = pd.DataFrame({"a": X[:, 0], "b": objects[:, 1]})
    for call in (gaussian().fit, fastem.open):
        with pytest.raises(ValueError, match=r"b \(object\)\. Column 'b' has .* in row 7, which is no real number"):
            call(frame)
    assert fastem.open(frame, columns=["a"]).n_features == 1


# --- frames -----------------------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore:X does not have valid feature names")
def test_lazy_frames():
    eager = pl.DataFrame({"a": HOLES[:, 0], "b": HOLES[:, 1], "name": ["x"] * 300})
    lazy = eager.lazy()
    numbers = lazy.select("a", "b")
    truth = gaussian().fit(HOLES)
    fitted = gaussian().fit(numbers)
    assert fitted.lower_bounds_ == truth.lower_bounds_
    assert fitted.feature_names_in_.tolist() == ["a", "b"]
    for method in ("predict", "predict_proba", "score_samples", "impute", "score", "bic", "aic", "icl"):
        np.testing.assert_array_equal(getattr(fitted, method)(numbers), getattr(truth, method)(HOLES))
    assert gaussian().partial_fit(numbers).lower_bounds_ == gaussian().partial_fit(HOLES).lower_bounds_
    assert gaussian().fit([numbers.head(100), numbers.slice(100)]).lower_bounds_ == truth.lower_bounds_
    for columns in (["b", "a"], [1, 0], [-2, "a"]):
        source = fastem.open(lazy, columns=columns)
        assert source.names == ["b", "a"]
        np.testing.assert_array_equal(source.read(0, 300), HOLES[:, ::-1])
    with pytest.raises(ValueError, match=r"name \(String\)"):
        gaussian().fit(lazy)


def test_lazy_frames_are_collected_once_with_the_columns_chosen():
    seen = []

    def look(frame):
        seen.append(frame.columns)
        return frame

    lazy = pl.DataFrame({"a": X[:, 0], "b": X[:, 1], "c": X[:, 1]}).lazy().map_batches(look, projection_pushdown=True)
    gaussian().fit(fastem.open(lazy, columns=["c", "a"]))
    assert [sorted(names) for names in seen] == [["a", "c"]]


def _expected(frame):
    return np.column_stack([pd.to_numeric(frame[name]).to_numpy(dtype=np.float64, na_value=np.nan) for name in frame])


@pytest.mark.parametrize(
    ("dtype", "kernel"),
    [
        ("Int64", np.float64),
        ("boolean", np.float64),
        ("Float32", np.float32),
        ("Float64", np.float64),
        ("UInt8", np.float64),
        ("int64[pyarrow]", np.float64),
        ("bool[pyarrow]", np.float64),
        ("float[pyarrow]", np.float32),
        ("double[pyarrow]", np.float64),
        (pd.ArrowDtype(pa.decimal128(12, 2)), np.float64),
        (pd.SparseDtype(np.float64), np.float64),
        (pd.SparseDtype(np.float32), np.float32),
        (pd.SparseDtype(np.int64, 0), np.float64),
        (pd.SparseDtype(bool, False), np.float64),
    ],
    ids=str,
)
def test_dtypes_of_pandas(dtype, kernel):
    values = (np.abs(X) > 4).astype(object)
    if "bool" not in str(dtype):
        values = np.abs(X).round().astype(int).astype(object)
    if not isinstance(dtype, pd.SparseDtype):
        values[5:9, 1] = None
    elif dtype.subtype.kind == "f":
        values[5:9, 1] = np.nan
    if isinstance(dtype, pd.ArrowDtype):
        values = np.array([[None if v is None else Decimal(v) for v in row] for row in values], dtype=object)
    truth = np.array([[np.nan if v is None else float(v) for v in row] for row in values])
    frame = pd.DataFrame({name: pd.Series(pd.array(values[:, j], dtype=dtype)) for j, name in enumerate("ab")})
    source = fastem.open(frame)
    assert source.dtype == kernel
    np.testing.assert_array_equal(source.read(0, 300), truth)
    np.testing.assert_array_equal(source.read(100, 7), truth[100:107])
    model = PoissonMixture(1).fit(truth.astype(kernel))
    assert PoissonMixture(1).fit(frame).lower_bounds_ == model.lower_bounds_


@pytest.mark.parametrize(
    ("column", "kind"),
    [
        (pd.date_range("2020", periods=300), r"datetime64\[.*\]"),
        (pd.to_timedelta(np.arange(300), "D"), r"timedelta64\[.*\]"),
        (pd.interval_range(0.0, 300.0), r"interval\[.*\]"),
        (pd.Categorical(["a", "b"] * 150), "category"),
        (["a", "b"] * 150, "str|object"),
        (np.ones(300, complex), "complex128"),
        (pd.array([datetime.date(2020, 1, 1)] * 300, dtype=pd.ArrowDtype(pa.date32())), "date32.*"),
    ],
    ids=str,
)
def test_columns_without_numbers(column, kind):
    frame = pd.DataFrame({"a": X[:, 0], "b": column})
    message = rf"Columns without numbers: b \(({kind})\)\..* Leave them out, with fastem\.open.*dates by numbers"
    for call in (gaussian().fit, fastem.open):
        with pytest.raises(ValueError, match=message):
            call(frame)


def test_dates_in_other_frames():
    dates = [datetime.date(2020, 1, 1)] * 300
    for frame in (pl.DataFrame({"a": X[:, 0], "b": dates}), pa.table({"a": X[:, 0], "b": dates})):
        with pytest.raises(ValueError, match=r"Columns without numbers: b \((Date|date32).*dates by numbers"):
            gaussian().fit(frame)


@pytest.mark.parametrize("dtype", ["M8[s]", "m8[D]"])
def test_arrays_of_dates(dtype):
    data = np.zeros((300, 2), dtype)
    for call in (gaussian().fit, fastem.open, gaussian().fit(X).predict, lambda X: gaussian().fit(lambda: iter([X]))):
        with pytest.raises(TypeError, match="dates or durations"):
            call(data)


def test_structured_arrays():
    data = np.zeros(300, [("a", float), ("b", float)])
    for call in (gaussian().fit, fastem.open):
        with pytest.raises(TypeError, match="structured_to_unstructured"):
            call(data)


@pytest.mark.parametrize(
    ("series", "how"),
    [
        (pd.Series(X[:, 0]), r"a Series of pandas, .* pass X\.to_frame\(\)"),
        (pl.Series(X[:, 0]), r"a Series of polars, .* pass X\.to_frame\(\)"),
        (pa.array(X[:, 0]), r"of pyarrow, .* pass pyarrow\.table"),
        (pa.chunked_array([X[:, 0]]), r"of pyarrow, .* pass pyarrow\.table"),
    ],
    ids=["pandas", "polars", "Array", "ChunkedArray"],
)
def test_single_columns(series, how):
    for call in (gaussian().fit, gaussian().partial_fit, fastem.open):
        with pytest.raises(ValueError, match=how):
            call(series)


@pytest.mark.parametrize("kind", ["csr_matrix", "coo_array", "csc_array"])
def test_sparse_matrices(kind):
    data = getattr(scipy.sparse, kind)(X)
    for call in (gaussian().fit, gaussian().partial_fit, fastem.open, gaussian().fit(X).predict):
        with pytest.raises(TypeError, match=r"\.toarray\(\)"):
            call(data)
    with pytest.raises(TypeError, match=r"\.toarray\(\)"):
        gaussian().fit(lambda: iter([data]))
    assert gaussian().fit(data.toarray()).lower_bounds_ == gaussian().fit(X).lower_bounds_

"""The index of a pandas frame is no column of the files and tables of Arrow that are made of it. Truth: pandas."""

import dask.dataframe as dd
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.feather
import pyarrow.ipc
import pyarrow.parquet
import pytest

import fastem
from fastem import GaussianMixture, PoissonMixture

RNG = np.random.default_rng(0)
PLAIN = pd.DataFrame(RNG.normal(size=(300, 2)), columns=["height", "width"])
IDS = pd.Index(RNG.permutation(300) + 1000, name="id")
TWO = pd.MultiIndex.from_arrays([np.arange(300) // 10, np.arange(300)], names=["site", None])

FRAMES = {
    "range": PLAIN,
    "filtered": PLAIN.query("height > -1"),
    "named": PLAIN.set_index(IDS),
    "several": PLAIN.set_index(TWO),
    "strings": PLAIN.set_index(pd.Index([f"row {i}" for i in range(300)], name="name")),
    "named range": PLAIN.rename_axis("number"),
    "dates": PLAIN.set_index(pd.date_range("2020", periods=300)),
}


def _parquet(frame, folder):
    frame.to_parquet(folder / "rows.parquet")
    return folder / "rows.parquet"


def _feather(frame, folder):
    pa.feather.write_feather(pa.Table.from_pandas(frame), folder / "rows.feather")
    return folder / "rows.feather"


def _ipc(frame, folder):
    table = pa.Table.from_pandas(frame)
    with pa.OSFile(str(folder / "rows.arrow"), "wb") as file, pa.ipc.new_file(file, table.schema) as writer:
        writer.write_table(table)
    return folder / "rows.arrow"


def _stream(frame, folder):
    return lambda: iter(pa.Table.from_pandas(frame).to_batches(100))


def _pattern(frame, folder):
    for i in range(3):  # the index of the first part may be a range, where others are filtered
        frame.iloc[100 * i : 100 * i + 100].to_parquet(folder / f"part-{i}.parquet")
    return str(folder / "part-*.parquet")


KINDS = {
    "parquet": _parquet,
    "feather": _feather,
    "ipc": _ipc,
    "table": lambda frame, folder: pa.Table.from_pandas(frame),
    "batch": lambda frame, folder: pa.RecordBatch.from_pandas(frame),
    "stream": _stream,
    "pattern": _pattern,
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", FRAMES)
def test_the_index_is_no_column(tmp_path, name, kind):
    frame = FRAMES[name]
    source = fastem.open(KINDS[kind](frame, tmp_path))
    truth = tmp_path / "truth.parquet"
    frame.to_parquet(truth)
    assert source.names == list(pd.read_parquet(truth).columns)
    np.testing.assert_array_equal(source.read(0, source.n_rows), frame.to_numpy())


@pytest.mark.parametrize("kind", KINDS)
def test_an_index_that_is_named_is_taken(tmp_path, kind):
    frame = FRAMES["named"]
    data = KINDS[kind](frame, tmp_path)
    source = fastem.open([data] if kind == "batch" else data, columns=["id", "width"])
    np.testing.assert_array_equal(source.read(0, 300), frame.reset_index()[["id", "width"]].to_numpy())
    for columns, names in (([1], ["width"]), ([-1, 0], ["width", "height"]), (["1"], ["width"])):
        assert fastem.open(data, columns=columns).names == names
    with pytest.raises(ValueError, match="There is no column 2: the data have 2 columns"):
        fastem.open(data, columns=[2])


def test_estimators_see_the_columns_only(tmp_path):
    frame = FRAMES["filtered"]
    expected = GaussianMixture(2, random_state=0).fit(frame)
    for kind in ("parquet", "feather", "table", "batch"):
        data = KINDS[kind](frame, tmp_path)
        fitted = GaussianMixture(2, random_state=0).fit(data)
        assert fitted.feature_names_in_.tolist() == ["height", "width"]
        np.testing.assert_array_equal(fitted.means_, expected.means_)
        for method in ("predict", "predict_proba", "score_samples", "impute", "score", "bic", "aic", "icl"):
            np.testing.assert_array_equal(getattr(expected, method)(data), getattr(expected, method)(frame))
        assert GaussianMixture(2, random_state=0).partial_fit(data).n_features_in_ == 2
    counts = pd.DataFrame(RNG.poisson(3, (100, 2)), columns=["a", "b"]).query("a > 0")
    assert PoissonMixture(1).fit(_parquet(counts, tmp_path)).rates_.shape == (1, 2)


@pytest.mark.filterwarnings("ignore:.*inplace keyword:DeprecationWarning")  # Dask's own
def test_partitions_of_dask(tmp_path):
    frame = FRAMES["named"]
    _parquet(frame, tmp_path)
    assert fastem.open(dd.read_parquet(tmp_path / "rows.parquet")).names == ["height", "width"]
    dd.from_pandas(frame, npartitions=2).to_parquet(tmp_path / "parts")
    assert fastem.open(str(tmp_path / "parts" / "*.parquet")).names == ["height", "width"]


@pytest.mark.parametrize("about", [b"", b"no JSON", b"[]", b'{"index_columns": [1, {"kind": "range"}]}', b"{}"])
def test_other_metadata_mean_nothing(about):
    table = pa.table({"x": [1.0, 2.0]}).replace_schema_metadata({b"pandas": about})
    assert fastem.open(table).names == ["x"]

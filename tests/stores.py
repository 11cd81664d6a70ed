"""The same rows in every place that data can lie in."""

from itertools import pairwise

import dask.array
import dask.dataframe
import h5py
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet
import zarr

import fastem


def names(X):
    return [f"x{j}" for j in range(X.shape[1])]


def npy(folder, X):
    np.save(folder / "X.npy", X)
    return folder / "X.npy"


def fortran(folder, X):
    np.save(folder / "F.npy", np.asfortranarray(X))
    return folder / "F.npy"


def memmap(folder, X):
    return np.load(npy(folder, X), mmap_mode="r")


def raw(folder, X):
    (folder / "X.bin").write_bytes(b"head" + X.tobytes())
    return fastem.open(folder / "X.bin", dtype=X.dtype, shape=(-1, X.shape[1]), offset=4)


def several_files(folder, X):
    cuts = sorted([0, min(1, len(X)), min(1, len(X)), len(X) // 3, len(X)])
    for i, (a, b) in enumerate(pairwise(cuts)):
        np.save(folder / f"part-{i}.npy", X[a:b])
    return str(folder / "part-*.npy")


def hdf5(folder, X):
    with h5py.File(folder / "X.h5", "w") as file:
        file["group/rows"] = X
    return f"{folder / 'X.h5'}::group/rows"


def hdf5_in_chunks(folder, X):
    with h5py.File(folder / "C.h5", "w") as file:
        file.create_dataset("rows", data=X, maxshape=(None, None), chunks=(777, 2), compression="gzip")
    return folder / "C.h5"


def zarr_array(folder, X):
    zarr.create_array(str(folder / "X.zarr"), data=X, chunks=(1000, X.shape[1]), overwrite=True)
    return folder / "X.zarr"


def zarr_shards(folder, X):
    group = zarr.open_group(str(folder / "G.zarr"), mode="w")
    group.create_array("rows", data=X, chunks=(100, X.shape[1]), shards=(3000, X.shape[1]))
    return f"{folder / 'G.zarr'}::rows"


def arrow_table(folder, X):
    return pa.table({name: X[:, j] for j, name in enumerate(names(X))})


def parquet(folder, X):
    pyarrow.parquet.write_table(arrow_table(folder, X), folder / "X.parquet", row_group_size=7001)
    return folder / "X.parquet"


def ipc(folder, X):
    table = arrow_table(folder, X)
    with pa.OSFile(str(folder / "X.arrow"), "wb") as file, pa.ipc.new_file(file, table.schema) as writer:
        for batch in table.to_batches(3333):
            writer.write_batch(batch)
    return folder / "X.arrow"


def pandas_frame(folder, X):
    return pd.DataFrame(X, columns=names(X))


def polars_frame(folder, X):
    return pl.DataFrame(X, schema=names(X))


def stream(folder, X):
    return lambda: (X[i : i + 999] for i in range(0, len(X), 999))


class Reiterable:
    def __init__(self, X):
        self.X = X

    def __iter__(self):
        yield from np.array_split(self.X, 7)


def reiterable(folder, X):
    return Reiterable(X)


def list_of_arrays(folder, X):
    return np.array_split(X, 5)


def dask_array(folder, X):
    return dask.array.from_array(X, chunks=(len(X) // 6 + 1, 2))


def dask_frame(folder, X):
    return dask.dataframe.from_pandas(pandas_frame(folder, X), npartitions=4)


# Fits of these give the same bits as fits of the array.
SAME_BITS = [
    npy, fortran, memmap, raw, several_files, hdf5, hdf5_in_chunks, zarr_array, zarr_shards, arrow_table, parquet,
    ipc, pandas_frame, polars_frame, stream, reiterable, list_of_arrays,
]  # fmt: skip
# Of these, the same numbers to rounding: partitions are summed up by themselves.
SAME_NUMBERS = [dask_array, dask_frame]

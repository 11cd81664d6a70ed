"""What a report of a problem should say about the machine."""

import platform
import sys
from importlib.metadata import PackageNotFoundError, version

__all__ = ["show_versions", "versions"]

_PACKAGES = (
    "numpy", "scipy", "numba", "llvmlite", "scikit-learn", "rich", "matplotlib", "h5py", "zarr", "pyarrow", "dask",
)  # fmt: skip


def versions() -> dict[str, str]:
    """Versions of fastem and what it stands on, threads and vectors of this machine."""
    import numba

    import fastem
    from fastem.kernels.simd import VECTOR_BYTES
    from fastem.kernels.threads import available_threads

    found = {"fastem": fastem.__version__, "python": sys.version.split()[0], "platform": platform.platform()}
    for package in _PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "not installed"
    try:
        layer = numba.threading_layer()
    except ValueError:
        layer = "not started"
    return found | {
        "threads": str(available_threads()),
        "threading layer": str(layer),
        "bytes of a vector": str(VECTOR_BYTES),
    }


def show_versions() -> None:
    """Print versions of fastem and what it stands on, threads and vectors of this machine."""
    for name, value in versions().items():
        print(f"{name:>18}: {value}")

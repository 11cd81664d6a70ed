"""Digests of fitted parameters: whether a change of structure left every bit as it was.

``python -m benchmarks.bits after.json`` fits every family to data of two precisions, from an array, a file and a
stream, with and without weights, missing cells and labels; ``python -m benchmarks.bits before.json after.json``
names the fits that differ between two such files.
"""

import hashlib
import itertools
import json
import sys
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from fastem import GaussianMixture, Mixture
from tests.family_cases import FAMILIES

ROWS = 1500
SOURCES = ("array", "file", "stream")
OPTIONS = ("plain", "weights", "missing", "labels")


def digest(model: Any) -> str:
    """Of all parameters and the log-likelihood."""
    found = hashlib.sha256()

    def walk(value: Any) -> None:
        if isinstance(value, dict | list | tuple):
            for item in value.values() if isinstance(value, dict) else value:
                walk(item)
        else:
            found.update(np.ascontiguousarray(value, dtype=np.float64).tobytes())

    walk(model.weights_)
    for name in model._fitted_model().family.attribute_names():
        walk(getattr(model, f"{name}_"))
    walk(model.log_likelihood_)
    return found.hexdigest()[:16]


def _opened(rows: np.ndarray, source: str, folder: Path) -> Any:
    if source == "array":
        return rows
    if source == "file":
        np.save(folder / "rows.npy", rows)
        return folder / "rows.npy"
    return lambda: iter(np.array_split(rows, 3))


def _models() -> Iterator[tuple[str, Any, Any]]:
    for kind in ("full", "tied", "diag", "spherical"):
        yield (
            f"GaussianMixture {kind}",
            GaussianMixture(2, covariance_type=kind, random_state=0, max_iter=6),
            FAMILIES[0],
        )
    for case in FAMILIES:
        settings = {"random_state": 0, "max_iter": 6, "n_screen": 4} | case.settings
        yield case.name, Mixture(case.family, 2, **settings), case


def _fit(model: Any, case: Any, dtype: str, source: str, option: str, folder: Path) -> str:
    rng = np.random.default_rng(7)
    rows = np.asarray(case.draw(ROWS, rng)).astype(dtype)
    side: dict[str, Any] = {}
    if option == "weights":
        side["sample_weight"] = rng.integers(0, 3, ROWS)
    if option == "labels":
        side["labels"] = np.where(rng.random(ROWS) < 0.1, rng.integers(0, 2, ROWS), -1)
    if option == "missing":
        if not case.family.takes_missing:
            return "takes no missing cells"
        rows[rng.random(rows.shape) < 0.1] = np.nan
    return digest(model.fit(_opened(rows, source, folder), **side))


def measure() -> dict[str, str]:
    """The digest of each fit."""
    warnings.simplefilter("ignore")
    found = {}
    for name, model, case in _models():
        for dtype, source, option in itertools.product(("float64", "float32"), SOURCES, OPTIONS):
            with tempfile.TemporaryDirectory() as folder:
                try:
                    value = _fit(model, case, dtype, source, option, Path(folder))
                except Exception as error:  # what fails must fail alike
                    value = f"{type(error).__name__}: {error}"
            found[f"{name}, {dtype}, {source}, {option}"] = value
        print(name, flush=True)
    return found


def main(paths: list[str]) -> int:
    if len(paths) == 1:
        Path(paths[0]).write_text(json.dumps(measure(), indent=1))
        return 0
    before, after = (json.loads(Path(path).read_text()) for path in paths)
    differing = [name for name in before.keys() | after.keys() if before.get(name) != after.get(name)]
    print("\n".join(sorted(differing)) or f"{len(before)} fits have the same bits")
    return 1 if differing else 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))

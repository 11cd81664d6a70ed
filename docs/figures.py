"""Make the figures of the README: ``python docs/figures.py``."""

import json
import tempfile
from pathlib import Path

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
from PIL import Image

import fastem
from fastem.cli import main

ROOT = Path(__file__).parent.parent
FIGURES = Path(__file__).parent / "figures"


def faithful() -> None:
    """Old Faithful: histogram, ellipses, history."""
    table = json.loads((ROOT / "tests" / "reference" / "gmm_faithful.json").read_text())
    X = np.array(table["data"]["values"])
    one = fastem.GaussianMixture(2, random_state=0).fit(X[:, 1:])
    two = fastem.GaussianMixture(2, random_state=0, tol=1e-9).fit(X)
    _, axes = plt.subplots(1, 3, figsize=(11, 3.3), layout="constrained")
    fastem.plot.histogram(one, X[:, 1:], bins=20, ax=axes[0]).set_xlabel("waiting time (min)")
    ax = fastem.plot.scatter(two, X, ax=axes[1])
    ax.set_xlabel("eruption (min)")
    ax.set_ylabel("waiting time (min)")
    fastem.plot.history(two, ax=axes[2])
    plt.savefig(FIGURES / "faithful.png", dpi=110)


def photograph() -> None:
    """What ``fastem demo`` writes, at half the size."""
    with tempfile.TemporaryDirectory() as folder:
        main(["demo", "--folder", folder])
        with Image.open(Path(folder) / "segments.png") as picture:
            picture.resize((960, 320), Image.Resampling.LANCZOS).save(FIGURES / "china.jpg", quality=85)


if __name__ == "__main__":
    mpl.use("Agg")
    FIGURES.mkdir(exist_ok=True)
    faithful()
    photograph()

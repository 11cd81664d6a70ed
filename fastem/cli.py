"""The command ``fastem``: fit, predict, info, demo, warmup."""

import argparse
import math
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

__all__ = ["main"]

COVARIANCES = ("full", "tied", "diag", "spherical")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; the exit code is 0, 1 after an error, 2 for a wrong command line, 130 after Ctrl-C."""
    options = _parser().parse_args(arguments)
    try:
        options.run(options)
    except KeyboardInterrupt:
        print("fastem: interrupted", file=sys.stderr)
        return 130
    except (ValueError, TypeError, OSError, MemoryError, RuntimeError, ImportError) as error:
        print(f"fastem: {' '.join(str(error).split()) or type(error).__name__}", file=sys.stderr)
        return 1
    return 0


def _parser() -> argparse.ArgumentParser:
    from fastem import __version__

    parser = argparse.ArgumentParser(prog="fastem", description="Mixtures fitted at the speed of the machine.")
    parser.add_argument("--version", action="version", version=f"fastem {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    _add_fit(commands)
    _add_predict(commands)
    info = commands.add_parser("info", help="describe a saved model")
    info.add_argument("model", metavar="MODEL")
    info.set_defaults(run=_info)
    demo = commands.add_parser("demo", help="segment a photograph by the colours and places of its pixels")
    demo.add_argument("--folder", default="fastem-demo", help="where to write (default: %(default)s)")
    demo.add_argument("-k", "--components", type=int, default=8, help="components (default: %(default)s)")
    demo.set_defaults(run=_demo)
    warmup = commands.add_parser("warmup", help="compile all kernels into the cache, with and without threads")
    warmup.add_argument("--covariance", choices=COVARIANCES, nargs="*", default=COVARIANCES, help="(default: all)")
    warmup.set_defaults(run=_warmup)
    return parser


def _add_fit(commands: Any) -> None:
    fit = commands.add_parser("fit", help="fit a Gaussian mixture to a .npy file")
    fit.add_argument("data", metavar="DATA.npy")
    fit.add_argument("-k", "--components", type=int, required=True, help="number of components")
    fit.add_argument("--covariance", choices=COVARIANCES, default="full", help="(default: %(default)s)")
    fit.add_argument("--out", metavar="MODEL", help="write the model to this file")
    fit.add_argument("--tol", type=float, default=1e-3, help="smallest change that counts (default: %(default)s)")
    fit.add_argument("--reg-covar", type=float, default=1e-6, help="added to variances (default: %(default)s)")
    fit.add_argument("--max-iter", type=int, default=100, help="most iterations (default: %(default)s)")
    fit.add_argument("--n-init", type=int, default=1, help="runs to choose from (default: %(default)s)")
    fit.add_argument("--seed", type=int, default=0, help="seed of the start (default: %(default)s)")
    fit.add_argument("--threads", type=int, help="threads to use (default: all)")
    fit.set_defaults(run=_fit)


def _add_predict(commands: Any) -> None:
    predict = commands.add_parser("predict", help="label the rows of a .npy file")
    predict.add_argument("model", metavar="MODEL")
    predict.add_argument("data", metavar="DATA.npy")
    predict.add_argument("--out", metavar="LABELS.npy", required=True, help="where to write")
    predict.add_argument("--proba", action="store_true", help="write probabilities instead of labels")
    predict.set_defaults(run=_predict)


# --- commands ---------------------------------------------------------------------------------


def _fit(options: argparse.Namespace) -> None:
    if options.out and not Path(options.out).parent.is_dir():
        raise FileNotFoundError(f"There is no directory {Path(options.out).parent} to write the model to.")
    mixture = _fit_with_progress(
        options.data,
        n_components=options.components,
        covariance_type=options.covariance,
        tol=options.tol,
        reg_covar=options.reg_covar,
        max_iter=options.max_iter,
        n_init=options.n_init,
        random_state=options.seed,
        n_threads=options.threads,
    )
    _print_model(mixture, options.data)
    if options.out:
        mixture.save(options.out)
        print(f"model written to {options.out}")


def _fit_with_progress(path: Any, **params: Any) -> Any:
    import warnings

    from fastem import GaussianMixture, Progress

    with Progress() as progress, warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        mixture = GaussianMixture(callbacks=progress, **params).fit(path)
    for warning in caught:
        print(f"fastem: warning: {warning.message}", file=sys.stderr)
    return mixture


def _predict(options: argparse.Namespace) -> None:
    from fastem import load

    model = load(options.model)
    result = (model.predict_proba if options.proba else model.predict)(options.data, out=options.out)
    print(f"{' x '.join(map(str, result.shape))} {'probabilities' if options.proba else 'labels'} -> {options.out}")


def _info(options: argparse.Namespace) -> None:
    from fastem import load

    model = load(options.model)
    print(repr(model))
    _print_model(model, None)


def _print_model(model: Any, data: Any) -> None:
    """Tables of the fit and of its components."""
    from rich import box
    from rich.console import Console
    from rich.table import Table

    from fastem.memory import peak_memory
    from fastem.sources import open_source

    facts = Table(show_header=False, box=None, padding=(0, 2))
    facts.add_row("log-likelihood", f"{model.log_likelihood_:.4f}")
    if data is not None:
        n = open_source(data).n_rows
        facts.add_row("BIC", f"{-2 * model.log_likelihood_ + model.n_parameters_ * math.log(n):.4f}")
    facts.add_row("free parameters", str(model.n_parameters_))
    facts.add_row("iterations", f"{model.n_iter_} ({model.stop_reason_})")
    facts.add_row("seconds", f"{model.fit_seconds_:.2f}")
    if data is not None:
        rate = n * model.n_iter_ / max(float(model.history_["seconds"].sum()), 1e-9)
        facts.add_row("rows per second and iteration", f"{rate:,.0f}")
        facts.add_row("peak memory", f"{peak_memory() / 2**20:.0f} MiB")
    console = Console()
    console.print(_component_table(model, box.ROUNDED if console.is_terminal else None))
    console.print(facts)


def _component_table(model: Any, lines: Any) -> Any:
    from rich.table import Table

    table = Table(title=f"{type(model).__name__}, {model.covariance_type}", title_justify="left", box=lines)
    table.add_column("component", justify="right")
    table.add_column("weight", justify="right")
    names = getattr(model, "feature_names_in_", [f"mean {j}" for j in range(model.n_features_in_)])
    shown = min(len(names), 8)
    for name in names[:shown]:
        table.add_column(str(name), justify="right")
    if shown < len(names):
        table.add_column(f"and {len(names) - shown} more")
    for k in sorted(range(model.n_components), key=lambda k: -model.weights_[k])[:40]:
        means = [f"{mean:.5g}" for mean in model.means_[k, :shown]]
        table.add_row(str(k), f"{model.weights_[k]:.4f}", *means)
    return table


def _demo(options: argparse.Namespace) -> None:
    import numpy as np

    folder = Path(options.folder)
    folder.mkdir(parents=True, exist_ok=True)
    photograph = _photograph()
    height, width, _ = photograph.shape
    y, x = np.mgrid[0:height, 0:width]
    # places weigh half as much as colours, so that regions hold together without being boxes
    places = np.stack([x, y], axis=-1) * (128 / width)
    pixels = np.concatenate([photograph.astype(np.float64), places], axis=-1).reshape(-1, 5)
    data, model, picture = folder / "pixels.npy", folder / "model.fastem", folder / "segments.png"
    np.save(data, pixels)
    print(f"{len(pixels):,} pixels (red, green, blue, x, y) -> {data}")
    mixture = _fit_with_progress(data, n_components=options.components, random_state=0, tol=1e-4)
    mixture.save(model)
    _print_model(mixture, data)
    labels = np.asarray(mixture.predict(data)).reshape(height, width)
    segments = mixture.means_[labels, :3].clip(0, 255).astype(np.uint8)
    _write_picture(np.concatenate([photograph, segments], axis=1), picture)
    print(f"model -> {model}\nphotograph and segments -> {picture}")


def _photograph() -> Any:
    """scikit-learn's picture of the Summer Palace, 427 x 640 pixels."""
    import numpy as np
    import sklearn
    from PIL import Image

    path = Path(sklearn.__file__).parent / "datasets" / "images" / "china.jpg"
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB"))


def _write_picture(pixels: Any, path: Path) -> None:
    from PIL import Image

    Image.fromarray(pixels).save(path)


def _warmup(options: argparse.Namespace) -> None:
    import numpy as np

    from fastem import GaussianMixture
    from fastem.threads import without_threads

    rng = np.random.default_rng(0)
    X = np.concatenate([rng.normal(-5, 1, (300, 2)), rng.normal(5, 1, (300, 2))])
    for covariance_type in options.covariance:
        for dtype in (np.float64, np.float32):
            began = time.perf_counter()
            mixture = GaussianMixture(2, covariance_type=covariance_type, random_state=0)
            mixture.fit_predict(X.astype(dtype))
            with without_threads():
                mixture.fit_predict(X.astype(dtype))
            print(f"{covariance_type:>10} {np.dtype(dtype)}: {time.perf_counter() - began:.1f} s", flush=True)

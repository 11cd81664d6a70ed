"""The command ``fastem``: fit, predict, info, demo, warmup."""

import argparse
import math
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
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
    warmup = commands.add_parser("warmup", help="compile the kernels of Gaussian mixtures into the cache")
    warmup.add_argument("--covariance", choices=COVARIANCES, nargs="*", default=COVARIANCES, help="(default: all)")
    warmup.set_defaults(run=_warmup)
    return parser


def _add_fit(commands: Any) -> None:
    fit = commands.add_parser(
        "fit",
        help="fit a Gaussian mixture to data in files",
        description="Fit a Gaussian mixture to a .npy, Parquet, Arrow IPC or HDF5 file (file.h5::dataset), a Zarr "
        "store, a plain binary file (with --dtype and --columns-per-row), or several such files as one.",
    )
    fit.add_argument("data", metavar="DATA", nargs="+", help="files or patterns")
    fit.add_argument("-k", "--components", type=int, required=True, help="number of components")
    fit.add_argument("--covariance", choices=COVARIANCES, default="full", help="(default: %(default)s)")
    fit.add_argument("--out", metavar="MODEL", help="write the model to this file")
    fit.add_argument("--tol", type=float, default=1e-3, help="smallest change that counts (default: %(default)s)")
    fit.add_argument("--reg-covar", type=float, default=1e-6, help="added to variances (default: %(default)s)")
    fit.add_argument("--max-iter", type=int, default=100, help="most iterations (default: %(default)s)")
    fit.add_argument("--n-init", type=int, default=1, help="runs to choose from (default: %(default)s)")
    fit.add_argument("--seed", type=int, default=0, help="seed of the start (default: %(default)s)")
    fit.add_argument("--threads", type=int, help="threads to use (default: all)")
    fit.add_argument(
        "--method", choices=("em", "growing", "stepwise"), default="em",
        help="what comes before EM on all rows: nothing, growing samples, stepwise EM (default: %(default)s)",
    )  # fmt: skip
    fit.add_argument("--checkpoint", metavar="FILE", help="keep the state of the fit here, and go on from it")
    fit.add_argument("--checkpoint-every", type=float, default=60, metavar="SECONDS", help="(default: %(default)s)")
    fit.add_argument("--scheduler", metavar="ADDRESS", help="run the passes on the cluster of this Dask scheduler")
    _add_reading(fit)
    fit.set_defaults(run=_fit)


def _add_reading(command: Any) -> None:
    command.add_argument("--columns", metavar="A,B,...", help="columns to use, by name or number (default: all)")
    command.add_argument("--dtype", help="of a plain binary file, such as '<f4'")
    command.add_argument("--columns-per-row", type=int, metavar="N", help="of a plain binary file")
    command.add_argument("--offset", type=int, default=0, help="bytes before the numbers of a plain binary file")


def _add_predict(commands: Any) -> None:
    predict = commands.add_parser("predict", help="label the rows of data in files")
    predict.add_argument("model", metavar="MODEL")
    predict.add_argument("data", metavar="DATA", nargs="+", help="files or patterns")
    predict.add_argument("--out", metavar="LABELS.npy", required=True, help="where to write")
    predict.add_argument("--proba", action="store_true", help="write probabilities instead of labels")
    _add_reading(predict)
    predict.set_defaults(run=_predict)


# --- commands ---------------------------------------------------------------------------------


def _open(options: argparse.Namespace) -> Any:
    """The data that a command names."""
    from fastem.sources import open_source

    columns = None if options.columns is None else options.columns.split(",")
    plain: dict[str, Any] = {}
    if options.dtype is not None or options.columns_per_row is not None or options.offset:
        shape = None if options.columns_per_row is None else (-1, options.columns_per_row)
        plain = {"dtype": options.dtype, "shape": shape, "offset": options.offset}
    if len(options.data) == 1:
        return open_source(options.data[0], columns, **plain)
    return open_source([open_source(path, columns, **plain) for path in options.data])


def _fit(options: argparse.Namespace) -> None:
    from fastem.storage.atomic_write import require_directory

    if options.out:
        require_directory(options.out, "model")
    source = _open(options)
    how: dict[str, Any] = {
        "method": options.method,
        "checkpoint": options.checkpoint,
        "checkpoint_every": options.checkpoint_every,
    }
    try:
        with _cluster(options.scheduler) as client:
            mixture = _fit_with_progress(
                source,
                how | {"client": client},
                n_components=options.components,
                covariance_type=options.covariance,
                tol=options.tol,
                reg_covar=options.reg_covar,
                max_iter=options.max_iter,
                n_init=options.n_init,
                random_state=options.seed,
                n_threads=options.threads,
            )
    except KeyboardInterrupt:
        print(f"fastem: {_how_to_resume(options.checkpoint)}", file=sys.stderr)
        raise
    _print_model(mixture, source)
    if options.out:
        mixture.save(options.out)
        print(f"model written to {options.out}")


def _how_to_resume(checkpoint: str | None) -> str:
    if checkpoint is None:
        return "nothing was kept; with --checkpoint FILE a fit can be interrupted and go on"
    if Path(checkpoint).exists():
        return f"the same command goes on from {checkpoint}"
    return f"nothing was written to {checkpoint}, so there is nothing to go on from"


@contextmanager
def _cluster(scheduler: str | None) -> Iterator[Any]:
    if scheduler is None:
        yield None
        return
    from fastem.sources import require_extra

    distributed = require_extra("distributed", "dask", "Running on a cluster")
    with distributed.Client(scheduler) as client:
        yield client


def _fit_with_progress(data: Any, how: dict[str, Any], **params: Any) -> Any:
    import warnings

    from fastem import GaussianMixture, Progress

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            with Progress() as progress:
                return GaussianMixture(callbacks=progress, **params).fit(data, **how)
        finally:
            for warning in caught:
                print(f"fastem: warning: {warning.message}", file=sys.stderr)


def _predict(options: argparse.Namespace) -> None:
    from fastem import load

    model = load(options.model)
    result = (model.predict_proba if options.proba else model.predict)(_open(options), out=options.out)
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

    from fastem.kernels.memory import peak_memory
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

    kind = getattr(model, "covariance_type", None) or repr(getattr(model, "family", ""))
    table = Table(title=f"{type(model).__name__}, {kind}", title_justify="left", box=lines)
    table.add_column("component", justify="right")
    table.add_column("weight", justify="right")
    names, values = _numbers(model)
    shown = min(len(names), 8)
    for name in names[:shown]:
        table.add_column(str(name), justify="right")
    if shown < len(names):
        table.add_column(f"and {len(names) - shown} more")
    for k in sorted(range(len(model.weights_)), key=lambda k: -model.weights_[k])[:40]:
        cells = [f"{value:.5g}" for value in values[k][:shown]] if k < len(values) else ["noise"]
        table.add_row(str(k), f"{model.weights_[k]:.4f}", *cells)
    return table


def _numbers(model: Any) -> tuple[list[str], list[list[float]]]:
    """Names, and numbers of each component: means, or all parameters of a family one after the other."""
    import numpy as np

    if hasattr(model, "means_") and not hasattr(model, "sizes_"):
        names = getattr(model, "feature_names_in_", [f"mean {j}" for j in range(model.n_features_in_)])
        return list(names), model.means_.tolist()
    family = model.family_
    columns: dict[str, Any] = {}
    for name, value in family.attributes(model._fitted().components).items():
        _file(name, value, columns)
    n = len(next(iter(columns.values())))
    return list(columns), np.column_stack(list(columns.values())).reshape(n, -1).tolist()


def _file(name: str, value: Any, columns: dict[str, Any]) -> None:
    """Parameters by names with numbers, from arrays, lists and dictionaries of them."""
    if isinstance(value, dict):
        for key, item in value.items():
            _file(str(key) if name == "parts" else f"{name} {key}", item, columns)
    elif isinstance(value, list):
        for j, item in enumerate(value):
            _file(f"{name} {j}", item, columns)
    elif value.ndim == 1:
        columns[name] = value
    elif value.ndim == 2:
        for j, column in enumerate(value.T):
            columns[f"{name} {j}"] = column


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
    mixture = _fit_with_progress(data, {}, n_components=options.components, random_state=0, tol=1e-4)
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

    rng = np.random.default_rng(0)
    X = np.concatenate([rng.normal(-5, 1, (300, 2)), rng.normal(5, 1, (300, 2))])
    for covariance_type in options.covariance:
        for dtype in (np.float64, np.float32):
            began = time.perf_counter()
            GaussianMixture(2, covariance_type=covariance_type, random_state=0).fit_predict(X.astype(dtype))
            print(f"{covariance_type:>10} {np.dtype(dtype)}: {time.perf_counter() - began:.1f} s", flush=True)

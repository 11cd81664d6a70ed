"""A progress bar for long fits."""

import sys
from types import TracebackType
from typing import IO, Any, Self

from fastem.em import Iteration

__all__ = ["Progress"]


class Progress:
    """Callback that shows iteration, objective, change and throughput.

    A bar on a terminal, plain lines at growing distances elsewhere. Use it as a context manager,
    so that the terminal is left clean whatever happens.

    Parameters
    ----------
    file : text file, optional
        Where to write; default: standard error.

    Examples
    --------
    >>> import numpy as np, sys
    >>> from fastem import GaussianMixture, Progress
    >>> X = np.random.default_rng(0).normal(size=(1000, 2))
    >>> with Progress() as progress:
    ...     mixture = GaussianMixture(2, random_state=0, callbacks=progress).fit(X)
    """

    def __init__(self, file: IO[str] | None = None):
        self.file = file or sys.stderr
        self._bar: Any = None
        self._task: Any = None
        self._next_line = 1

    def __reduce__(self) -> tuple[type, tuple[()]]:
        # Terminals cannot be copied or sent to other processes: a copy writes to standard error.
        return type(self), ()

    def __enter__(self) -> Self:
        if self.file.isatty():
            self._bar = _make_bar(self.file)
            self._bar.start()
            self._task = self._bar.add_task("start", total=None, facts="looking for a start")
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._bar is not None:
            self._bar.stop()

    def __call__(self, iteration: Iteration) -> None:
        rate = iteration.n_rows / max(iteration.seconds, 1e-9)
        facts = f"log-likelihood {iteration.objective:.6f}  change {iteration.change:.1e}  {_si(rate)} rows/s"
        name = f"run {iteration.init + 1}, iteration {iteration.n_iter}"
        if self._bar is not None:
            self._bar.update(
                self._task,
                description=name,
                completed=iteration.n_iter,
                total=iteration.max_iter,
                facts=facts,
            )
        elif iteration.n_iter == 1 or iteration.n_iter >= self._next_line:
            self._next_line = 2 * iteration.n_iter
            print(f"{name}: {facts}", file=self.file, flush=True)


def _make_bar(file: IO[str]) -> Any:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
    from rich.progress import Progress as Bar

    return Bar(
        TextColumn("{task.description}"),
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("{task.fields[facts]}"),
        console=Console(file=file),
    )


def _si(number: float) -> str:
    for limit, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if number >= limit:
            return f"{number / limit:.3g} {letter}"
    return f"{number:.3g}"

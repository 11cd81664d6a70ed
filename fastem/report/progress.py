"""A progress bar for long fits."""

import math
import sys
import time
from types import TracebackType
from typing import IO, Any, Self

from fastem.engine.loop import Iteration, PassProgress

__all__ = ["Progress"]

_SECONDS_BETWEEN_LINES = 30
_SECONDS_BETWEEN_UPDATES = 0.1


class Progress:
    """Callback that shows iteration, objective, change, throughput and the time that is left.

    A bar on a terminal; elsewhere plain lines at growing distances, and every half a minute
    within long passes. Use it as a context manager, so that the terminal is left clean whatever
    happens.

    The time left for the fit supposes that changes go on to shrink as they did last, which they
    do near a maximum; before that it is the time to `max_iter`.

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
        self._said = time.monotonic()
        self._last: Iteration | None = None
        self._iterations_left = math.inf

    def __reduce__(self) -> tuple[type, tuple[()]]:
        # Terminals cannot be copied or sent to other processes: a copy writes to standard error.
        return type(self), ()

    def __enter__(self) -> Self:
        if self.file.isatty():
            self._bar = _make_bar(self.file)
            self._bar.start()
            self._task = self._bar.add_task("start", total=None, facts="looking for a start", speed="")
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
        self._iterations_left = _iterations_left(self._last, iteration)
        self._last = iteration
        rate = iteration.n_rows / max(iteration.seconds, 1e-9)
        facts = f"log-likelihood {iteration.objective:.6f} ({iteration.change:+.1e})"
        speed = f"{_si(rate)} rows/s"
        name = f"run {iteration.init + 1}, iteration {iteration.n_iter}"
        if self._bar is not None:
            self._bar.update(
                self._task,
                description=name,
                completed=iteration.n_iter,
                total=iteration.max_iter,
                facts=facts,
                speed=speed,
            )
        elif iteration.n_iter == 1 or iteration.n_iter >= self._next_line:
            self._next_line = 2 * iteration.n_iter
            self._print(f"{name}: {facts}  {speed}")

    def during_pass(self, now: PassProgress) -> None:
        """Show how far the pass is, and how long pass and fit will take.

        Parameters
        ----------
        now : PassProgress
        """
        on_terminal = self._bar is not None
        since = time.monotonic() - self._said
        if since < (_SECONDS_BETWEEN_UPDATES if on_terminal else _SECONDS_BETWEEN_LINES):
            return
        speed = self._speed(now)
        if on_terminal:
            self._bar.update(self._task, description=f"run {now.init + 1}, iteration {now.n_iter}", speed=speed)
            self._said = time.monotonic()
        else:
            self._print(f"run {now.init + 1}, iteration {now.n_iter}: {speed}")

    def _speed(self, now: PassProgress) -> str:
        seconds = max(now.seconds, 1e-9)
        left = (now.n_rows / max(now.rows, 1) - 1) * seconds
        text = (
            f"pass {100 * now.rows // max(now.n_rows, 1)}%, {_si(now.rows / seconds)} rows/s, "
            f"{_si(now.bytes / seconds)}B/s, {_clock(left)} left"
        )
        if self._last is not None and math.isfinite(self._iterations_left):
            whole = self._iterations_left * self._last.seconds - seconds
            text += f", fit {_clock(max(whole, left))}"
        return text

    def _print(self, line: str) -> None:
        self._said = time.monotonic()
        print(line, file=self.file, flush=True)


def _iterations_left(before: Iteration | None, now: Iteration) -> float:
    """Iterations until the change falls below `tol`, if it shrinks as it did last."""
    most = now.max_iter - now.n_iter
    if before is None or before.init != now.init or not 0 < abs(now.change) < abs(before.change) < math.inf:
        return most
    if not 0 < now.tol < abs(now.change):
        return most
    shrinks = math.log(abs(now.change) / abs(before.change))
    return min(most, math.ceil(math.log(now.tol / abs(now.change)) / shrinks))


def _make_bar(file: IO[str]) -> Any:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
    from rich.progress import Progress as Bar

    return Bar(
        TextColumn("{task.description}"),
        BarColumn(bar_width=12),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("{task.fields[facts]}  {task.fields[speed]}"),
        console=Console(file=file),
    )


def _clock(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{seconds:02d}" if hours else f"{minutes}:{seconds:02d}"


def _si(number: float) -> str:
    for limit, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if number >= limit:
            return f"{number / limit:.3g} {letter}"
    return f"{number:.3g}"

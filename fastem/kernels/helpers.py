"""Helper processes, which compile kernels into Numba's cache while this process compiles others.

Numba holds a lock while it compiles, so threads of one process would wait for each other.
"""

import atexit
import os
import pickle
import subprocess
import sys
from contextlib import suppress
from typing import Any

import numpy as np
from numba import config

from fastem.kernels.erased import erase, is_compiled
from fastem.kernels.threads import available_threads

__all__ = ["Job", "compile_all", "start_helpers"]

# Kernel parameters and statistics of a part, of which only the types matter, and the dtype of the data.
Job = tuple[Any, Any, np.dtype[Any]]

_COMMAND = "from fastem.kernels.helpers import compile_all; compile_all()"
_running: list[subprocess.Popen[bytes]] = []
# Kinds of parts that this process has looked for: each pass asks.
_met: set[Any] = set()


def start_helpers(jobs: list[Job]) -> None:
    """Start a process for each core but one, if there is so much to compile, and return at once.

    Each begins with another kind of part; what one compiles at the time, another one waits for and then finds. Nothing
    depends on them: kernels that cannot be named in another process are compiled by this one alone.
    """
    waiting = _new_ones(jobs)
    n_helpers = min(len(waiting), available_threads(None)) - 1
    if n_helpers < 1 or config.DISABLE_JIT or not sys.executable:
        return
    for i in range(n_helpers):
        first = (i + 1) * len(waiting) // (n_helpers + 1)
        with suppress(OSError, pickle.PicklingError, AttributeError, TypeError):
            _running.append(_start(pickle.dumps(waiting[first:] + waiting[:first])))


def compile_all() -> None:
    """Compile the jobs that stand on the standard input."""
    for job in pickle.load(sys.stdin.buffer):
        erase(*job)


def _new_ones(jobs: list[Job]) -> list[Job]:
    """A job of each kind that this process, and Numba's cache, do not know."""
    found: dict[Any, Job] = {}
    for job in jobs:
        params, stats, dtype = job
        kind = (type(params), type(stats), dtype)
        if kind not in _met and not is_compiled(*job):
            found[kind] = job
        _met.add(kind)
    return list(found.values())


def _start(jobs: bytes) -> subprocess.Popen[bytes]:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    nothing = subprocess.DEVNULL
    process = subprocess.Popen(
        [sys.executable, "-c", _COMMAND], stdin=subprocess.PIPE, stdout=nothing, stderr=nothing, env=environment
    )
    assert process.stdin is not None
    with process.stdin as pipe:
        pipe.write(jobs)
    return process


@atexit.register
def _stop() -> None:
    """Nobody waits for kernels any more."""
    for process in _running:
        if process.poll() is None:
            process.kill()
            process.wait()

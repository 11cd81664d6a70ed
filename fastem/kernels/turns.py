"""Processes that need the same kernel at once take turns: one compiles it, the others find it in Numba's cache.

Numba writes the index of its cache without a lock. Of two processes that add to an index at once, one
loses its entry, or an entry comes to name the kernel of another signature.
"""

import os
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from numba.core.compiler_lock import global_compiler_lock

try:
    import fcntl
except ImportError:  # not a POSIX system: kernels are compiled as if nobody else did
    fcntl = None  # type: ignore[assignment]

__all__ = ["compile_in_turn"]

PATIENCE = 120.0  # seconds, of a lock that a file system never gives; a kernel takes no such time to compile


def compile_in_turn(dispatcher: Any) -> None:
    """Let a dispatcher with a cache compile only while no other process compiles the same function."""
    compile_now = dispatcher.compile
    name = re.sub(r"[^\w.]+", "", f"{dispatcher.py_func.__module__}.{dispatcher.py_func.__qualname__}.lock")
    path = Path(dispatcher.stats.cache_path, name)

    def compile_alone(signature: Any) -> Any:
        # Numba's own lock comes first: no process forks while another thread of it holds that one,
        # and a child would never give back a file lock that it has inherited.
        with global_compiler_lock, _turn(path):
            return compile_now(signature)

    dispatcher.compile = compile_alone


@contextmanager
def _turn(path: Path) -> Iterator[None]:
    """Hold the lock of a file, or go on without where files cannot be locked."""
    descriptor = None
    if fcntl is not None:
        with suppress(OSError):
            path.parent.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    try:
        if descriptor is not None:
            _wait_for(descriptor)
        yield
    finally:
        if descriptor is not None:
            os.close(descriptor)


def _wait_for(descriptor: int) -> None:
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            time.sleep(0.02)
        except OSError:  # a file system without locks
            return
        else:
            return

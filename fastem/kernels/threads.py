"""Whether a pass runs on threads, and on how many.

Numba's threads abort or hang where a process forked after they started, and its workqueue layer
aborts on concurrent use. The pass runs without threads there: it gives the same bits. OpenMP of
other libraries waits for ever for threads that a fork lost, so that it gets one thread there.
"""

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numba
from numba.core.compiler_lock import global_compiler_lock
from numba.np.ufunc import parallel as _numba_threads

from fastem.kernels.dispatch import Twins

__all__ = ["available_threads", "choose", "openmp_after_fork"]

_lock = threading.Lock()
_is_forked = False
_threads_lost = False


def _before_fork() -> None:
    # A lock that another thread holds would stay locked in the child for ever.
    _lock.acquire()
    global_compiler_lock.acquire()


def _after_fork() -> None:
    global_compiler_lock.release()
    _lock.release()


def _after_fork_in_child() -> None:
    global _is_forked, _threads_lost
    _is_forked = True
    _threads_lost = _threads_lost or bool(_numba_threads._is_initialized)
    _after_fork()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=_before_fork,
        after_in_parent=_after_fork,
        after_in_child=_after_fork_in_child,
    )


def available_threads(n_threads: int | None = None) -> int:
    """Threads a pass may use: the least of affinity, CPU quota, NUMBA_NUM_THREADS and `n_threads`."""
    limits = [numba.config.NUMBA_NUM_THREADS, _quota()]
    if n_threads is not None:
        limits.append(n_threads)
    if hasattr(os, "sched_getaffinity"):
        limits.append(len(os.sched_getaffinity(0)))
    return max(1, int(min(limits)))


def _quota() -> float:
    """CPUs that the control group grants, which Numba does not look at."""
    try:
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text().split()
        return float("inf") if quota == "max" else max(1.0, float(quota) / float(period))
    except (OSError, ValueError):
        return float("inf")


@contextmanager
def openmp_after_fork() -> Iterator[None]:
    """Keep other libraries' OpenMP to the calling thread for the duration, in a process that was forked."""
    if not _is_forked:
        yield
        return
    from threadpoolctl import threadpool_limits

    with threadpool_limits(1, user_api="openmp"):
        yield


@contextmanager
def choose(twins: Twins, n_threads: int) -> Iterator[Callable[..., Any]]:
    """The twin that is safe to call now, with Numba set to `n_threads` for the duration."""
    if n_threads == 1 or not _has_threads() or not _lock.acquire(blocking=False):
        yield twins.serial
        return
    try:
        before = numba.get_num_threads()
        try:
            numba.set_num_threads(n_threads)
            yield twins.parallel
        finally:
            numba.set_num_threads(before)
    finally:
        _lock.release()


def _has_threads() -> bool:
    """Whether this thread may start Numba's: none after a fork, under workqueue only the main one."""
    if _threads_lost or numba.config.DISABLE_JIT:
        return False
    if threading.current_thread() is threading.main_thread():
        return True
    try:
        return str(numba.threading_layer()) != "workqueue"
    except ValueError:  # no pass has run yet, so the layer is not known
        return False

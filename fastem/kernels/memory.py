"""How much memory there is, so that what cannot fit is refused before it is begun; where arrays begin in it."""

import math
from pathlib import Path
from typing import Any

import numpy as np

__all__ = ["aligned_zeros", "available_memory", "peak_memory", "require_memory"]


def available_memory() -> float:
    """Bytes that can still be taken: the machine's, and the control group's limit; inf if unknown."""
    limits = [_machine(), _control_group()]
    return min(limits)


def _machine() -> float:
    kilobytes = _field(Path("/proc/meminfo"), "MemAvailable:")
    return float("inf") if kilobytes is None else 1024.0 * kilobytes


def _field(table: Path, name: str) -> int | None:
    """A number from one of Linux's tables of names and numbers."""
    try:
        for line in table.read_text().splitlines():
            if line.startswith(name):
                return int(line.split()[1])
    except OSError:
        pass
    return None


def _control_group() -> float:
    group = Path("/sys/fs/cgroup")
    try:
        limit = (group / "memory.max").read_text().strip()
        if limit == "max":
            return float("inf")
        used = int((group / "memory.current").read_text())
        # files that were read count as used, but give way
        cached = _field(group / "memory.stat", "inactive_file") or 0
        cached += _field(group / "memory.stat", "active_file") or 0
        return float(int(limit) - max(used - cached, 0))
    except (OSError, ValueError):
        return float("inf")


def peak_memory() -> int:
    """Largest resident memory of this process so far, in bytes; 0 where the system does not tell."""
    return 1024 * (_field(Path("/proc/self/status"), "VmHWM:") or 0)


def require_memory(needed: float, what: str, remedy: str) -> None:
    """Raise MemoryError if `needed` bytes are not there."""
    available = available_memory()
    if needed > available:
        raise MemoryError(
            f"{what} would take {needed / 2**30:.1f} GiB of memory, but {available / 2**30:.1f} GiB are "
            f"available. {remedy}"
        )


def aligned_zeros(shape: tuple[int, ...], dtype: np.dtype[Any]) -> np.ndarray:
    """Zeros that begin at a line of the caches, as vectors are loaded fastest."""
    count = math.prod(shape)
    memory = np.zeros(count * dtype.itemsize + 128, np.uint8)
    first = -memory.ctypes.data % 128
    return memory[first : first + count * dtype.itemsize].view(dtype).reshape(shape)

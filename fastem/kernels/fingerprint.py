"""What compiled kernels are made from: the files they are written in, and those that these take kernels from."""

import hashlib
import inspect
import re
import sys
from collections.abc import Iterable, Iterator
from functools import cache
from importlib.util import resolve_name
from pathlib import Path
from typing import Any

__all__ = ["fingerprint", "kernel_files"]

# What every pass is made from.
_ALWAYS = ("simd.py", "vector_math.py", "tiles.py", "dispatch.py", "kernel_arguments.py", "erased.py")
_IMPORT = re.compile(r"^from ([\w.]+) import", re.MULTILINE)


def fingerprint(parts: Iterable[Any]) -> str:
    """A digest of all files whose change must recompile some functions and classes."""
    digest = hashlib.sha256()
    for file in kernel_files(parts):
        digest.update(_content(file).encode())
    return digest.hexdigest()[:16]


def kernel_files(parts: Iterable[Any]) -> list[Path]:
    """The files that functions and classes are written in, and those that these take kernels from."""
    package = Path(__file__).parent
    found = {package / name for name in _ALWAYS}
    waiting = {module for part in parts if (module := inspect.getmodule(part)) is not None and _file(module)}
    while waiting:
        module = waiting.pop()
        found.add(_file(module))
        waiting |= {other for other in _kernel_modules(module) if _file(other) not in found}
    return sorted(found)


def _file(module: Any) -> Any:
    name = getattr(module, "__file__", None)
    return None if name is None else Path(name)


def _kernel_modules(module: Any) -> Iterator[Any]:
    """Modules with kernels that a module imports, of fastem, of its own package or from its own folder."""
    own = _file(module)
    for name in _IMPORT.findall(_content(own)):
        full = resolve_name(name, module.__package__ or "") if name.startswith(".") else name
        other = sys.modules.get(full)
        file = None if other is None else _file(other)
        if file is None or "numba" not in _content(file):
            continue
        if full.split(".")[0] in ("fastem", module.__name__.split(".")[0]) or file.parent == own.parent:
            yield other


@cache
def _content(file: Path) -> str:
    return file.read_text(encoding="utf-8", errors="replace") if file.exists() else ""

"""Files that appear when they are whole, or not at all."""

import glob
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

__all__ = ["discard_partial", "keep_previous", "previous_of", "replacing", "require_directory"]


@contextmanager
def replacing(path: str | os.PathLike[str]) -> Iterator[BinaryIO]:
    """A file to write beside `path`; leaving without an error flushes it and puts it in place.

    After an error the old file is as it was, and nothing else is left behind.
    """
    target = Path(path)
    temporary = _partial(target)
    try:
        with open(temporary, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(target)
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
    _flush_directory(target.parent)


def require_directory(path: str | os.PathLike[str], what: str) -> None:
    """Raise FileNotFoundError unless the directory exists that a file is to be written to."""
    folder = Path(path).parent
    if not folder.is_dir():
        raise FileNotFoundError(f"There is no directory {folder} to write the {what} to.")


def previous_of(path: Path) -> Path:
    """Where `keep_previous` keeps a file."""
    return path.with_name(f"{path.name}.previous")


def keep_previous(path: Path) -> None:
    """Give a file a second name, so that it outlives its replacement; there is always one of them."""
    if not path.exists():
        return
    second = _partial(previous_of(path))
    try:
        second.unlink(missing_ok=True)
        try:
            os.link(path, second)
        except OSError:  # a file system without links
            shutil.copyfile(path, second)
        second.replace(previous_of(path))
    finally:
        with suppress(OSError):
            second.unlink(missing_ok=True)


def discard_partial(path: Path) -> None:
    """Remove what a killed process left of writing a file."""
    for left in path.parent.glob(f".{glob.escape(path.name)}.*partial"):
        with suppress(OSError):
            left.unlink()


def _partial(path: Path) -> Path:
    return path.with_name(f".{path.name}.{os.getpid()}.partial")


def _flush_directory(directory: Path) -> None:
    """Make the new name durable, where the system lets directories be opened."""
    try:
        descriptor = os.open(directory, os.O_RDONLY)
    except OSError:
        return
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)

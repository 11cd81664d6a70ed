"""Files that must not change while they are read."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from fastem.sources._source import DataChangedError, Source

__all__ = ["FileSource"]


class _Identity(NamedTuple):
    """What changes when a file or a directory of files is changed."""

    size: int
    modified_ns: int
    inode: int
    files: int


class FileSource(Source):
    """Base of the sources that lie in one file, or in one directory of files."""

    is_shared = True

    def __init__(self, path: str | os.PathLike[str]):
        self.path = Path(path)
        self._identity = _identity(self.path)

    def is_at(self, path: str | os.PathLike[str]) -> bool:
        return Path(path).exists() and Path(path).samefile(self.path)

    def fingerprint(self) -> dict[str, Any]:
        return self._facts() | {"bytes": self._identity.size, "modified": self._identity.modified_ns}

    @contextmanager
    def _unchanged(self) -> Iterator[None]:
        """What is read inside is refused if the file is not, or no longer, what it was when it was opened."""
        self._check_unchanged()
        try:
            yield
        except DataChangedError:
            raise
        except Exception as error:
            self._check_unchanged()  # the likelier reason, then
            if str(self.path) in str(error):
                raise
            raise OSError(f"{self.path} cannot be read: {error}") from error
        self._check_unchanged()

    def _check_unchanged(self) -> None:
        try:
            same = _identity(self.path) == self._identity
        except FileNotFoundError as error:
            raise DataChangedError(f"{self.path} was removed while it was in use.") from error
        if not same:
            raise DataChangedError(f"{self.path} changed while it was in use: start again on the new data.")


def _identity(path: Path) -> _Identity:
    status = path.stat()
    if not path.is_dir():
        return _Identity(status.st_size, status.st_mtime_ns, status.st_ino, 1)
    inside = [Path(folder, name).stat() for folder, _, names in os.walk(path) for name in names]
    latest = max((one.st_mtime_ns for one in inside), default=status.st_mtime_ns)
    return _Identity(sum(one.st_size for one in inside), latest, status.st_ino, len(inside))

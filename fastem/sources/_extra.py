"""Optional packages."""

from importlib import import_module
from typing import Any

__all__ = ["require"]


def require(module: str, extra: str, what: str) -> Any:
    """Import a module of an optional package.

    Raises
    ------
    ImportError
        With the name of the extra that brings the package.
    """
    try:
        return import_module(module)
    except ImportError as error:
        package = module.partition(".")[0]
        raise ImportError(f"{what} needs {package}: pip install 'fastem[{extra}]'") from error

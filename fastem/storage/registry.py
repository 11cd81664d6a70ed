"""Classes that model files may name, entered by who defines them; nothing else is ever made from a file."""

from collections import ChainMap
from collections.abc import MutableMapping
from typing import TypeVar

__all__ = ["ESTIMATORS", "add_settings", "settings", "storable"]

Class = TypeVar("Class", bound=type)

ESTIMATORS: dict[str, type] = {}
_settings: list[MutableMapping[str, type]] = []


def storable(cls: Class) -> Class:
    """Let files hold estimators of a class."""
    ESTIMATORS[cls.__name__] = cls
    return cls


def add_settings(classes: MutableMapping[str, type]) -> None:
    """Let the settings of estimators in files be of some classes, also of those that come into the mapping later."""
    _settings.append(classes)


def settings() -> ChainMap[str, type]:
    """The classes that settings may have, by name."""
    return ChainMap(*_settings)

"""fastem: expectation-maximization at the speed of the machine.

Names are imported when they are first used, so that ``import fastem`` costs nothing.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fastem import plot
    from fastem.checkpoint import CheckpointError
    from fastem.diagnostics import show_versions
    from fastem.em import Iteration, PassProgress
    from fastem.estimators.gaussian_mixture import GaussianMixture
    from fastem.persistence import ModelFileError, load
    from fastem.progress import Progress
    from fastem.sources import DataChangedError
    from fastem.sources import open_source as open

__version__ = "0.1.0"

__all__ = [
    "CheckpointError",
    "DataChangedError",
    "GaussianMixture",
    "Iteration",
    "ModelFileError",
    "PassProgress",
    "Progress",
    "load",
    "open",
    "plot",
    "show_versions",
]

_HOMES = {
    "CheckpointError": "fastem.checkpoint",
    "DataChangedError": "fastem.sources",
    "GaussianMixture": "fastem.estimators.gaussian_mixture",
    "Iteration": "fastem.em",
    "ModelFileError": "fastem.persistence",
    "PassProgress": "fastem.em",
    "Progress": "fastem.progress",
    "load": "fastem.persistence",
    "open": "fastem.sources",
    "show_versions": "fastem.diagnostics",
}


def __getattr__(name: str) -> Any:
    if name == "plot":
        return import_module("fastem.plot")
    if name not in _HOMES:
        raise AttributeError(f"module 'fastem' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), "open_source" if name == "open" else name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])

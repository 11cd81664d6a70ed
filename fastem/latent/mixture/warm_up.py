"""What may come before EM on all rows, so that it needs fewer passes."""

from typing import Any, Protocol

from fastem.latent.mixture.contract import MixtureParams

__all__ = ["WarmUp"]


class WarmUp(Protocol):
    """What comes before full EM: some stages, each a state from the one before."""

    n_stages: int

    def begin(self, params: MixtureParams) -> Any:
        """The state before the first stage; its field `params` holds the parameters."""

    def advance(self, state: Any, stage: int) -> Any:
        """The state after a stage."""

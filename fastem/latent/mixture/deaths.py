"""What becomes of components that lose all their weight."""

from typing import NamedTuple

import numpy as np

from fastem.latent.mixture.contract import ComponentFamily, MixtureParams

__all__ = ["Death", "Reseeds", "reseeds", "revive"]


class Reseeds(NamedTuple):
    """What a mixture remembers between M-steps: how often it may start a dead component again, and did."""

    left: np.ndarray
    done: np.ndarray


class Death(NamedTuple):
    """A component lost all its weight."""

    component: int


def reseeds(count: int) -> Reseeds:
    """As many as `count` dead components are started again; later ones keep their parameters and weight 0."""
    return Reseeds(np.array(count), np.array(0))


def revive(
    family: ComponentFamily,
    params: MixtureParams,
    dead: np.ndarray,
    memory: Reseeds,
    frozen: frozenset[str] = frozenset(),
    has_prior: bool = False,
) -> tuple[MixtureParams, Reseeds, tuple[Death, ...]]:
    """Parameters after some components died, each put beside the heaviest one, which it shares.

    What is `frozen` stays, and with a prior on the weights theirs do.
    """
    weights, components = params
    left, done = int(memory.left), int(memory.done)
    weights = weights.copy() if has_prior else np.where(dead, 0.0, weights)
    died = np.flatnonzero(dead)
    for k in died[:left]:
        heaviest = int(np.argmax(np.where(dead, -1.0, weights)))
        split = family.split(components, int(k), heaviest, np.random.RandomState(done))
        components = family.hold(split, components, frozen)
        weights[k] = weights[heaviest] = (weights[heaviest] + weights[k]) / 2
        left, done = left - 1, done + 1
    kept = params.weights if "weights" in frozen else weights / weights.sum()
    events = tuple(Death(int(k)) for k in died)
    return MixtureParams(kept, components), Reseeds(np.array(left), np.array(done)), events

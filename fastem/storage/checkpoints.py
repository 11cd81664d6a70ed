"""Checkpoints: the state of a fit in a file, from which a fit that was killed goes on."""

import hashlib
import json
import os
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from types import CodeType
from typing import Any

import numpy as np

from fastem.engine.loop import Fit, StopReason
from fastem.engine.restarts import Snapshot
from fastem.storage.array_file import ModelFileError, flatten, read, require, unflatten, write
from fastem.storage.atomic_write import discard_partial, keep_previous, previous_of

__all__ = ["Checkpoint", "CheckpointError", "describe"]


class CheckpointError(ValueError):
    """A checkpoint belongs to another fit."""


class Checkpoint:
    """A file that holds the last state of a fit, and the one before in a second file.

    Parameters
    ----------
    path : path
    every : float
        Seconds between two writes.
    facts : dict
        What a fit must have in common with a checkpoint to go on from it.
    like : NamedTuple
        Parameters, of which only the types matter.
    like_memory : NamedTuple or None
        What the model remembers between M-steps, of which only the types matter.
    make_event : callable
        From the numbers of an event of an M-step, the event.
    like_warm : NamedTuple or None
        State of a warm-up, if there is one, of which only the types matter.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        every: float,
        facts: dict[str, Any],
        like: Any,
        like_warm: Any,
        like_memory: Any,
        make_event: Callable[..., Any],
    ):
        self.path = Path(path)
        self.every = every
        self.facts: dict[str, Any] = json.loads(json.dumps(_flat(facts)))
        self.like, self.like_warm = like, like_warm
        self.like_memory, self.make_event = like_memory, make_event
        self._latest: Snapshot | None = None
        self._written = time.monotonic()
        self._has_warned = False

    def resume(self, rng: np.random.RandomState) -> Snapshot | None:
        """The last state of this fit; None if there is no checkpoint.

        Raises
        ------
        ValueError
            If a checkpoint could not hold the state of `rng`.
        CheckpointError
            If the checkpoint belongs to other data or other settings.
        ModelFileError
            If the file is no checkpoint, and there is no sound one before it.
        """
        _pack_generator("rng", rng)
        discard_partial(self.path)
        if not self.path.exists() and not previous_of(self.path).exists():
            return None
        try:
            return self._read(self.path)
        except (ModelFileError, FileNotFoundError) as error:
            if not previous_of(self.path).exists():
                raise
            snapshot = self._read(previous_of(self.path))
            warnings.warn(f"{self.path} cannot be used ({error}); the fit goes on from the one before.", stacklevel=6)
            return snapshot

    def keep(self, snapshot: Snapshot) -> None:
        """Remember a state, and write it if it is time."""
        self._latest = snapshot
        if time.monotonic() - self._written >= self.every:
            self.write()

    def write(self) -> None:
        """Write the state that was kept last; where the disk does not let us, the fit goes on."""
        if self._latest is None:
            return
        latest = self._latest
        try:
            keep_previous(self.path)
            write(self.path, *self._pack(latest))
            self._latest = None
        except OSError as error:
            if not self._has_warned:
                warnings.warn(f"The checkpoint {self.path} cannot be written ({error}); the fit goes on.", stacklevel=2)
            self._has_warned = True
        self._written = time.monotonic()

    # --- file -----------------------------------------------------------------------------

    def _pack(self, snapshot: Snapshot) -> tuple[dict[str, str], dict[str, np.ndarray]]:
        fits = {"fit": snapshot.fit} | ({"best": snapshot.best} if snapshot.best else {})
        arrays = {
            "numbers": np.array([snapshot.init, snapshot.stage]),
            **_pack_generator("rng", snapshot.rng),
        }
        for name, fit in fits.items():
            arrays |= _pack_fit(name, fit)
        if snapshot.warm is not None:
            arrays |= flatten("warm", snapshot.warm)
        reasons = {name: fit.reason.name if fit.reason else "" for name, fit in fits.items()}
        return {"kind": "checkpoint", "of": json.dumps(self.facts), "reasons": json.dumps(reasons)}, arrays

    def _read(self, path: Path) -> Snapshot:
        facts, arrays = read(path)
        require(facts.get("kind") == "checkpoint", "it is no checkpoint")
        try:
            self._compare(path, json.loads(facts["of"]))
            reasons = json.loads(facts["reasons"])
            fits = {name: self._unpack_fit(name, reason, arrays) for name, reason in reasons.items()}
            init, stage = (int(number) for number in arrays["numbers"])
            rng = _unpack_generator("rng", arrays)
            has_warm = any(name.startswith("warm.") for name in arrays)
            warm = unflatten("warm", self.like_warm, arrays) if has_warm else None
        except (KeyError, TypeError) as error:
            raise ModelFileError(f"{path} is no sound checkpoint: {error!r}") from error
        return Snapshot(rng, init, fits["fit"], fits.get("best"), stage, warm)

    def _unpack_fit(self, name: str, reason: str, arrays: dict[str, np.ndarray]) -> Fit:
        previous, slack = (float(number) for number in arrays[f"{name}.state"])
        memory = None if self.like_memory is None else unflatten(f"{name}.memory", self.like_memory, arrays)
        return Fit(
            unflatten(f"{name}.params", self.like, arrays),
            previous,
            slack,
            StopReason[reason] if reason else None,
            arrays[f"{name}.objectives"].tolist(),
            arrays[f"{name}.changes"].tolist(),
            arrays[f"{name}.seconds"].tolist(),
            arrays[f"{name}.falls"].tolist(),
            arrays[f"{name}.saddles"].tolist(),
            memory,
            [self.make_event(*numbers) for numbers in arrays[f"{name}.events"].tolist()],
        )

    def _compare(self, path: Path, theirs: dict[str, Any]) -> None:
        differences = [
            f"{name} was {_short(theirs.get(name))} and is {_short(self.facts.get(name))}"
            for name in sorted({*theirs, *self.facts})
            if theirs.get(name) != self.facts.get(name)
        ]
        if differences:
            raise CheckpointError(
                f"The checkpoint {path} belongs to another fit: {'; '.join(differences)}. Go on with the same data "
                "and settings, name another file, or remove this one to begin anew."
            )


def describe(value: Any) -> Any:
    """What tells a parameter of an estimator from another one, in terms of JSON."""
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, np.random.RandomState | np.random.Generator):
        return type(value).__name__
    if hasattr(value, "get_params"):
        return {"class": type(value).__name__, **describe(value.get_params(deep=False))}
    if isinstance(value, dict):
        return {str(key): describe(item) for key, item in value.items()}
    if isinstance(value, set | frozenset):
        return sorted(map(str, value))
    if isinstance(value, list | tuple) and not all(isinstance(item, bool | int | float | np.number) for item in value):
        return [describe(item) for item in value]
    if callable(value):
        return _describe_function(value)
    array = np.asarray(value)
    if array.dtype.kind == "O":  # its bytes are addresses
        return describe(array.tolist())
    return f"{array.dtype} {array.shape} {hashlib.sha256(array.tobytes()).hexdigest()[:16]}"


def _describe_function(function: Any) -> str:
    """What tells a function from another one, or from its earlier version."""
    code = getattr(getattr(function, "py_func", function), "__code__", None)
    name = str(getattr(function, "__qualname__", type(function).__name__))
    return name if code is None else f"{name} {_digest_of(code)}"


def _digest_of(code: CodeType) -> str:
    constants = [_digest_of(item) if isinstance(item, CodeType) else repr(item) for item in code.co_consts]
    return hashlib.sha256(repr((code.co_code, code.co_names, constants)).encode()).hexdigest()[:16]


def _flat(facts: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Facts of facts by both their names, so that a difference can be named."""
    found: dict[str, Any] = {}
    for name, value in facts.items():
        found |= _flat(value, f"{prefix}{name} ") if isinstance(value, dict) else {f"{prefix}{name}": value}
    return found


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."


def _pack_fit(name: str, fit: Fit) -> dict[str, np.ndarray]:
    return {
        **flatten(f"{name}.params", fit.params),
        **({} if fit.memory is None else flatten(f"{name}.memory", fit.memory)),
        f"{name}.events": np.array([tuple(event) for event in fit.events]),
        f"{name}.objectives": np.array(fit.objectives, dtype=np.float64),
        f"{name}.changes": np.array(fit.changes, dtype=np.float64),
        f"{name}.seconds": np.array(fit.seconds, dtype=np.float64),
        f"{name}.falls": np.array(fit.falls, dtype=np.int64),
        f"{name}.saddles": np.array(fit.saddles, dtype=np.int64),
        f"{name}.state": np.array([fit.previous, fit.slack], dtype=np.float64),
    }


def _pack_generator(name: str, rng: np.random.RandomState) -> dict[str, np.ndarray]:
    state: dict[str, Any] = rng.get_state(legacy=False)
    kind = state["bit_generator"]
    if kind != "MT19937":
        raise ValueError(f"A fit with a checkpoint needs an int, or a generator MT19937, as random_state, not {kind}.")
    return {
        f"{name}.key": np.asarray(state["state"]["key"], dtype=np.int64),
        f"{name}.position": np.array([state["state"]["pos"], state["has_gauss"]]),
        f"{name}.gauss": np.array([state["gauss"]]),
    }


def _unpack_generator(name: str, arrays: dict[str, np.ndarray]) -> np.random.RandomState:
    position, has_gauss = (int(number) for number in arrays[f"{name}.position"])
    key = arrays[f"{name}.key"].astype(np.uint32)
    rng = np.random.RandomState()
    rng.set_state(("MT19937", key, position, has_gauss, float(arrays[f"{name}.gauss"][0])))
    return rng

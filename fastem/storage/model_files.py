"""Models in files: the class against a registry, values checked before the model is handed out."""

import json
import os
from typing import Any

import numpy as np

from fastem.storage.array_file import ModelFileError, read, require, write
from fastem.storage.registry import ESTIMATORS, settings

__all__ = ["ModelFileError", "load", "save"]


# What values of no sense may raise where they are taken for others.
_UNSOUND = (
    ArithmeticError, AssertionError, AttributeError, LookupError, MemoryError, RecursionError, TypeError, ValueError,
)  # fmt: skip


# --- save -------------------------------------------------------------------------------------


def save(model: Any, path: str | os.PathLike[str]) -> None:
    """Write a fitted model to a file, which is whole or not there at all.

    Parameters
    ----------
    model : estimator
    path : path
    """
    arrays: dict[str, np.ndarray] = {}
    params, fitted = _put_model("", model, arrays)
    facts = {"class": type(model).__name__, "params": json.dumps(params), "fitted": json.dumps(fitted)}
    write(path, facts, arrays)


def _put_model(prefix: str, model: Any, arrays: dict[str, np.ndarray]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Settings and fitted attributes of a model as JSON, with their arrays filed by names that begin with `prefix`."""
    params: dict[str, Any] = {}
    fitted: dict[str, Any] = {}
    for name, value in model.get_params(deep=False).items():
        if name != "callbacks":
            _put(f"{prefix}params.{name}", value, arrays, params)
    for name, value in vars(model).items():
        if name.endswith("_") and not name.startswith("_"):
            _put(f"{prefix}fitted.{name}", value, arrays, fitted)
    return params, fitted


def _put(name: str, value: Any, arrays: dict[str, np.ndarray], values: dict[str, Any]) -> None:
    """File a value among the arrays or the JSON values; what is neither is left out."""
    if isinstance(value, np.generic):
        value = value.item()
    if _is_structured(value):
        values[name] = _encode(name, value, arrays)
    elif isinstance(value, dict):
        for key, item in value.items():
            _put(f"{name}.{key}", item, arrays, values)
    elif isinstance(value, np.ndarray) and value.dtype.kind in "fiu":
        arrays[name] = value
    elif isinstance(value, np.ndarray) and value.dtype.kind in "OU":
        values[name] = [str(item) for item in value]
    elif isinstance(value, list) and value and all(isinstance(item, float) for item in value):
        arrays[name] = np.array(value)
    elif isinstance(value, list | tuple) and all(isinstance(item, int) for item in value):
        arrays[name] = np.array(value, dtype=np.int64)
    elif isinstance(value, list | tuple):
        _put(name, np.array(value), arrays, values)
    elif value is None or isinstance(value, bool | int | float | str):
        values[name] = value


def _is_structured(value: Any) -> bool:
    """Whether a value has families, arrays of several shapes or dictionaries in it."""
    if isinstance(value, dict):
        return any(isinstance(item, dict) or _is_structured(item) for item in value.values())
    if isinstance(value, list):
        inner = (
            isinstance(item, np.ndarray | dict)
            or _is_registered(item)
            or (isinstance(item, list) and _is_structured(item))
            for item in value
        )
        return any(inner) or _is_ragged(value)
    return isinstance(value, tuple | set | frozenset) or _is_registered(value)


def _is_registered(value: Any) -> bool:
    return type(value) in settings().values() or type(value) in ESTIMATORS.values()


def _is_ragged(values: list[Any] | tuple[Any, ...]) -> bool:
    """Whether lists in a list differ in length."""
    try:
        np.array(values)
    except ValueError:
        return True
    return False


def _encode(name: str, value: Any, arrays: dict[str, np.ndarray]) -> Any:
    """A value as JSON, with its arrays filed by names that begin with `name`."""
    if isinstance(value, np.generic):
        value = value.item()
    if type(value) in settings().values():
        given = value.get_params(deep=False)
        return {"class": type(value).__name__, "settings": _encode(name, given, arrays)}
    if type(value) in ESTIMATORS.values():
        prefix = f"inner.{name}."
        params, fitted = _put_model(prefix, value, arrays)
        return {"model": type(value).__name__, "prefix": prefix, "params": params, "fitted": fitted}
    if isinstance(value, dict):
        pairs = value.items()
        return {
            "pairs": [
                [_encode(name, key, arrays), _encode(f"{name}.{i}", v, arrays)] for i, (key, v) in enumerate(pairs)
            ]
        }
    if isinstance(value, np.ndarray) and value.dtype.kind in "OU":
        return {"strings": [str(item) for item in value]}
    if isinstance(value, np.ndarray) and value.dtype.kind == "b":
        return {"booleans": [bool(item) for item in value]}
    if isinstance(value, np.ndarray):
        arrays[f"inner.{name}"] = value
        return {"array": f"inner.{name}"}
    if isinstance(value, set | frozenset):
        return {"items": sorted(value)}
    if isinstance(value, list | tuple):
        items = [_encode(f"{name}.{i}", item, arrays) for i, item in enumerate(value)]
        return {"tuple" if isinstance(value, tuple) else "list": items}
    return value


def _decode(value: Any, arrays: dict[str, np.ndarray]) -> Any:
    """What `_encode` made JSON of."""
    if not isinstance(value, dict):
        require(value is None or isinstance(value, bool | int | float | str), f"it holds {value!r}")
        return value
    kind, *_ = value
    inner = value[kind]
    if kind == "class":
        if inner not in settings():
            raise ValueError(f"it holds a family {inner!r}; import the module that defines it first")
        return settings()[inner](**_decode(value["settings"], arrays))
    if kind == "model":
        return _make_model(inner, value["params"], value["fitted"], value["prefix"], arrays)
    if kind == "array":
        return arrays[inner]
    if kind in ("strings", "booleans"):
        require(all(isinstance(item, str if kind == "strings" else bool) for item in inner), f"it holds {inner!r}")
        return np.array(inner, dtype=np.str_ if kind == "strings" else np.bool_)
    if kind == "pairs":
        return {_decode(key, arrays): _decode(item, arrays) for key, item in inner}
    require(kind in ("list", "tuple", "items"), f"it holds an unknown {kind!r}")
    items = [_decode(item, arrays) for item in inner]
    return tuple(items) if kind == "tuple" else items


# --- load -------------------------------------------------------------------------------------


def load(path: str | os.PathLike[str]) -> Any:
    """Read a model that `save` wrote.

    Parameters
    ----------
    path : path

    Returns
    -------
    model : estimator

    Raises
    ------
    ModelFileError
        If the file is not such a model, is damaged, or holds values that no fit can have.
    OSError
        If the file cannot be read.

    Examples
    --------
    >>> import numpy as np, fastem, tempfile, os
    >>> X = np.random.default_rng(0).normal(size=(100, 2))
    >>> path = os.path.join(tempfile.mkdtemp(), "model.fastem")
    >>> fastem.GaussianMixture(2, random_state=0).fit(X).save(path)
    >>> fastem.load(path)
    GaussianMixture(n_components=2, random_state=0)
    """
    facts, arrays = read(path)
    metadata = _read_facts(facts)
    try:
        model = _make_model(metadata["class"], metadata["params"], metadata["fitted"], "", arrays)
    except _UNSOUND as error:
        raise ModelFileError(f"{path} is not a sound model: {error or type(error).__name__}") from error
    return model


def _make_model(
    kind: str, params: dict[str, Any], fitted: dict[str, Any], prefix: str, arrays: dict[str, np.ndarray]
) -> Any:
    """The model that `_put_model` filed."""
    require(kind in ESTIMATORS, f"it holds an unknown {kind!r}")
    model = ESTIMATORS[kind](**_collect(f"{prefix}params.", params, arrays))
    for name, value in _collect(f"{prefix}fitted.", fitted, arrays).items():
        require(name.endswith("_") and name.isidentifier(), f"it has an attribute {name!r}")
        setattr(model, name, value)
    with np.errstate(all="ignore"):
        model._check_loaded()
    return model


def _read_facts(facts: dict[str, Any]) -> dict[str, Any]:
    require(facts.get("class") in ESTIMATORS, f"it holds an unknown {facts.get('class')!r}")
    for part in ("params", "fitted"):
        try:
            facts[part] = json.loads(facts[part])
        except (KeyError, TypeError, ValueError, RecursionError) as error:
            raise ModelFileError(f"This is not a model file, or it is damaged: {error}.") from error
        require(isinstance(facts[part], dict), f"its {part} are not an object")
    return facts


def _collect(prefix: str, values: dict[str, Any], arrays: dict[str, np.ndarray]) -> dict[str, Any]:
    """Values and arrays of one part, with dictionaries put together again."""
    found: dict[str, Any] = {}
    for name, value in [*values.items(), *arrays.items()]:
        if not name.startswith(prefix):
            continue
        if isinstance(value, dict):
            found[name.removeprefix(prefix)] = _decode(value, arrays)
            continue
        key, _, inner = name.removeprefix(prefix).partition(".")
        if inner:
            found.setdefault(key, {})[inner] = value
        else:
            found[key] = value
    return found

"""The index of a pandas frame, which Arrow keeps among the columns."""

import json
from collections.abc import Sequence
from typing import Any

from fastem.sources.columns import column_indices

__all__ = ["choose_fields"]


def choose_fields(schema: Any, columns: Sequence[Any] | None) -> list[int]:
    """Numbers of the fields of an Arrow schema that are the chosen columns, by default all.

    What was the index of a pandas frame is no column, but can be chosen by its name. Numbers of
    columns count over the others.
    """
    index = _index_names(schema)
    of_index = [name in index for name in schema.names]
    rest = [j for j, inside in enumerate(of_index) if not inside]
    if columns is None:
        return rest
    fields = rest + [j for j, inside in enumerate(of_index) if inside]
    return [fields[j] for j in column_indices(columns, len(rest), [schema.names[j] for j in fields])]


def _index_names(schema: Any) -> set[str]:
    """Names of the fields that hold an index; one of equally spaced numbers takes no field."""
    try:
        about = json.loads((schema.metadata or {}).get(b"pandas", b"{}"))
        return {name for name in about.get("index_columns", []) if isinstance(name, str)}
    except (ValueError, AttributeError, TypeError):  # not of pandas' making
        return set()

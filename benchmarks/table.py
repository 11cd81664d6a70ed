"""Tables of a saved run, for the README: ``python -m benchmarks.table run.json``."""

import json
import sys
from collections.abc import Callable
from typing import Any, NamedTuple


class Table(NamedTuple):
    """A table of the entries whose ``extra_info`` has a certain key."""

    header: str
    row: Callable[[dict[str, Any]], str]


def main(path: str) -> None:
    with open(path) as file:
        run = json.load(file)
    entries, machine = run["benchmarks"], run["machine_info"]
    print(
        f"{machine['cpu']['brand_raw']}, {machine['cpu']['count']} cores, vectors of {machine['vector_bytes']} bytes\n"
    )
    for key, table in TABLES.items():
        rows = [table.row(entry["extra_info"]) for entry in entries if key in entry["extra_info"]]
        if rows:
            print(f"{table.header}\n{'|---' * (table.header.count('|') - 1)}|", *rows, sep="\n", end="\n\n")
    for entry in entries:
        info = entry["extra_info"]
        if not TABLES.keys() & info.keys():
            print(f"\n{entry['name']}")
            for kind in ("seconds", "mebibytes", "differences", "large file", "formats", "warm-ups", "cluster"):
                for name, value in info.get(kind, {}).items():
                    print(f"    {kind} {name}: {value if isinstance(value, dict) else f'{value:.4g}'}")


def _row(info: dict[str, Any]) -> str:
    problem, seconds = info["problem"], info["seconds"]
    ours = seconds["fastem"]
    separated = ", well separated" if problem["apart"] >= 5 else ""
    sizes = f"{problem['n']:,}, {problem['d']}, {problem['k']}, {problem['apart']:g}"
    cells = [
        f"{sizes}, {problem['covariance_type']}{separated}",
        _milliseconds(ours),
    ]
    for peer in ("sklearn", "onedal"):
        theirs = seconds.get(peer)
        cells.append(f"{_milliseconds(theirs)}, **{theirs / ours:.1f}x**" if theirs else "")
    cells.append(f"{info['useful'] / ours / info['dgemm']:.0%}" if info["useful"] else "")
    return _join(cells)


def _peers_row(info: dict[str, Any]) -> str:
    seconds, peers = info["seconds"], info["peers"]
    cells = [_name(info["problem"])]
    # beside peers in float64, and beside the fastest of all
    for dtype, rivals in (("float64", [peer for peer in peers if "float32" not in peer]), ("float32", peers)):
        ours = seconds[f"fastem, {dtype}"]
        ratio = f", **{min(seconds[peer] for peer in rivals) / ours:.1f}x**" if rivals else ""
        cells.append(_milliseconds(ours) + ratio)
    cells.append("; ".join(f"{peer} {_milliseconds(seconds[peer])}" for peer in sorted(peers, key=seconds.__getitem__)))
    return _join([*cells, _milliseconds(info["survey"])])


def _limits_row(info: dict[str, Any]) -> str:
    seconds = info["seconds"]
    return _join(
        [
            _name(info["problem"]),
            _milliseconds(seconds["fastem"]),
            _milliseconds(seconds["softmax"]),
            f"{_milliseconds(info['bound'])}, {info['binds']}",
            f"{info['share']:.0%}",
            f"{info['share_without_softmax']:.0%}",
        ]
    )


def _missing_row(info: dict[str, Any]) -> str:
    seconds = info["seconds"]
    cells = [_name(info["problem"]), _milliseconds(seconds["fastem, complete"])]
    cells += [f"{_milliseconds(seconds[f'fastem, {name}'])}, {slower:.1f}x" for name, slower in info["slower"].items()]
    return _join(cells)


def _name(problem: dict[str, Any]) -> str:
    missing = f", missing {problem['missing']}" if problem["missing"] else ""
    return f"{problem['case']}{missing}, {problem['n']:,}, {problem['d']}, {problem['k']}"


def _milliseconds(seconds: float | None) -> str:
    return "" if seconds is None else f"{seconds * 1000:.3g} ms"


def _join(cells: list[str]) -> str:
    return "| " + " | ".join(cells) + " |"


TABLES = {
    "dgemm": Table("| n, d, K, centres apart (sd), covariance | fastem | scikit-learn | oneDAL | of DGEMM |", _row),
    "peers": Table("| family, n, d, K | fastem, float64 | fastem, float32 | peers | look before a fit |", _peers_row),
    "share": Table(
        "| family, n, d, K | fastem | of it softmax | lower bound | reached | reached without softmax |", _limits_row
    ),
    "slower": Table(
        "| family, n, d, K | complete | one cell in ten missing | 20 patterns in half the rows |", _missing_row
    ),
}

if __name__ == "__main__":
    main(sys.argv[1])

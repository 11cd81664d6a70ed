"""Tables of a saved run, for the README: ``python -m benchmarks.table run.json``."""

import json
import sys


def main(path: str) -> None:
    with open(path) as file:
        run = json.load(file)
    print("| n, d, K, centres apart (sd), covariance | fastem | scikit-learn | oneDAL | of DGEMM |")
    print("|---|---|---|---|---|")
    for entry in run["benchmarks"]:
        info = entry["extra_info"]
        if "dgemm" in info:
            print(_row(info))
    for entry in run["benchmarks"]:
        info = entry["extra_info"]
        if "dgemm" not in info:
            print(f"\n{entry['name']}")
            for kind in ("seconds", "mebibytes", "differences", "large file", "formats", "warm-ups", "cluster"):
                for name, value in info.get(kind, {}).items():
                    print(f"    {kind} {name}: {value if isinstance(value, dict) else f'{value:.4g}'}")


def _row(info: dict) -> str:
    problem, seconds = info["problem"], info["seconds"]
    ours = seconds["fastem"]
    separated = ", well separated" if problem["apart"] >= 5 else ""
    sizes = f"{problem['n']:,}, {problem['d']}, {problem['k']}, {problem['apart']:g}"
    cells = [
        f"{sizes}, {problem['covariance_type']}{separated}",
        f"{ours * 1000:.3g} ms",
    ]
    for peer in ("sklearn", "onedal"):
        theirs = seconds.get(peer)
        cells.append(f"{theirs * 1000:.3g} ms, **{theirs / ours:.1f}x**" if theirs else "")
    cells.append(f"{info['useful'] / ours / info['dgemm']:.0%}" if info["useful"] else "")
    return "| " + " | ".join(cells) + " |"


if __name__ == "__main__":
    main(sys.argv[1])

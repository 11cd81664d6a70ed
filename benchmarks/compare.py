"""Fail where a ratio to scikit-learn or to DGEMM got more than 15% worse between two saved runs.

``python -m benchmarks.compare before.json after.json``. Ratios of one run are compared, never
seconds of two: machines are shared and differ.
"""

import json
import sys

ALLOWED = 0.15


def ratios(path: str) -> dict[str, float]:
    """Ratio of each benchmark, larger is better."""
    with open(path) as file:
        run = json.load(file)
    found = {}
    for entry in run["benchmarks"]:
        info = entry["extra_info"]
        seconds = info.get("seconds", {})
        if "sklearn" in seconds:
            found[f"{entry['name']} against scikit-learn"] = seconds["sklearn"] / seconds["fastem"]
        if info.get("useful"):
            found[f"{entry['name']} against DGEMM"] = info["useful"] / seconds["fastem"] / info["dgemm"]
    return found


def regressions(before: dict[str, float], after: dict[str, float]) -> list[str]:
    """Lines about the ratios that fell by more than is allowed, or are missing."""
    lines = []
    for name, old in before.items():
        new = after.get(name)
        if new is None:
            lines.append(f"{name}: missing")
        elif new < (1 - ALLOWED) * old:
            lines.append(f"{name}: {old:.3g} -> {new:.3g} ({new / old - 1:+.0%})")
    return lines


def main(before: str, after: str) -> int:
    found = regressions(ratios(before), ratios(after))
    print("\n".join(found) or "no regressions")
    return 1 if found else 0


if __name__ == "__main__":
    raise SystemExit(main(*sys.argv[1:3]))

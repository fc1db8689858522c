"""Draws how the time grows with the number of bridges, out of what the benchmark measured.

python -m lab.bench --json bench.json && python -m lab.growth bench.json docs/growth.svg
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any

from lab.bench import MANY, MANY_PREVIEW, MANY_UP, PREVIEW, UP

NUMBERS = (1, *MANY)
LINES = {"fresh pulumi up": {1: UP, **MANY_UP}, "preview without a change": {1: PREVIEW, **MANY_PREVIEW}}


def points(measured: Mapping[str, Sequence[Mapping[str, Any]]]) -> dict[str, list[tuple[int, float]]]:
    """Number of bridges and median of the seconds, by line. ValueError if a row is missing, or was never measured."""
    found = {}
    for title, rows in LINES.items():
        for row in rows.values():
            if not measured.get(row):
                raise ValueError(f"{row}: not in it: write it with `python -m lab.bench --json FILE`")
        found[title] = [
            (number, round(median(item["seconds"] for item in measured[rows[number]]), 2)) for number in NUMBERS
        ]
    return found


def drawn(measured: Mapping[str, Sequence[Mapping[str, Any]]]) -> str:
    """The picture, SVG. ValueError as `points`."""
    import pygal  # its import hook breaks that of others

    chart = pygal.XY(
        title="One host, many bridges", x_title="bridges", y_title="seconds (median)", include_x_axis=True,
        x_labels=NUMBERS, print_values=True, print_values_position="top", legend_at_bottom=True, width=720, height=420,
        js=(), no_prefix=True, style=pygal.style.CleanStyle(font_family="sans-serif"),
    )  # fmt: skip
    for title, line in points(measured).items():
        chart.add(title, line)
    # The chart's settings for a script that we do not have.
    return re.sub(r"<script.*?</script>", "", chart.render(is_unicode=True), flags=re.DOTALL)


def main(words: Sequence[str]) -> int:
    if len(words) != 2:
        print("usage: python -m lab.growth BENCH.json PICTURE.svg", file=sys.stderr)
        return 2
    try:
        picture = drawn(json.loads(Path(words[0]).read_text()))
    except (OSError, ValueError) as error:
        print(f"python -m lab.growth: {words[0]}: {error}", file=sys.stderr)
        return 1
    Path(words[1]).write_text(picture)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

"""A picture of other numbers than those that were measured."""

from __future__ import annotations

from pathlib import Path

import pytest

from lab import bench, growth

ROWS = {
    bench.UP: [10.0, 30.0, 20.0], bench.MANY_UP[5]: [25.5], bench.MANY_UP[20]: [47.25],
    bench.PREVIEW: [5.0], bench.MANY_PREVIEW[5]: [5.75], bench.MANY_PREVIEW[20]: [7.5],
}  # fmt: skip
MEASURED = {row: [{"seconds": each} for each in seconds] for row, seconds in ROWS.items()}


def test_each_line_has_the_medians() -> None:
    assert growth.points(MEASURED) == {
        "fresh pulumi up": [(1, 20.0), (5, 25.5), (20, 47.25)],
        "preview without a change": [(1, 5.0), (5, 5.75), (20, 7.5)],
    }


def test_the_picture_shows_them_and_is_the_same_each_time() -> None:
    picture = growth.drawn(MEASURED)
    assert picture == growth.drawn(MEASURED) and picture.startswith("<?xml")
    for shown in ("47.25", "25.5", "7.5", "fresh pulumi up", "preview without a change"):
        assert shown in picture
    assert "<script" not in picture, "it is drawn in the README"


def test_a_benchmark_without_a_row_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "bench.json").write_text("{}")
    assert growth.main([str(tmp_path / "bench.json"), str(tmp_path / "picture.svg")]) == 1
    assert "pulumi up, fresh: not in it" in capsys.readouterr().err and not (tmp_path / "picture.svg").exists()

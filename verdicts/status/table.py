"""The report of `status` as text: a summary, tables, and what to do."""

from __future__ import annotations

from collections.abc import Sequence

from verdicts.status.evaluation import Row, StatusReport

BRIDGE_HEAD = ("BRIDGE", "LEVEL", "CONTAINER", "READY", "PING", "LAST EVENT", "LAST GOOD DUMP", "NEWEST ARCHIVE")
SHARED_HEAD = ("SHARED", "LEVEL", "STATE")


def format_status(report: StatusReport) -> str:
    """The report for a person. A monitoring program shows the first line alone, so that line says the worst. Below the
    tables stands what to do."""
    blocks = [[summarize_status(report)]]
    if report.bridges:
        blocks.append(_align_columns([BRIDGE_HEAD, *map(_list_cells, report.bridges)]))
    blocks.append(_align_columns([SHARED_HEAD, *map(_list_cells, (*report.causes, *report.shared))]))
    if report.findings:
        blocks.append([f"{finding.level.word}: {finding.text}" for finding in report.findings])
    return "\n\n".join("\n".join(block) for block in blocks)


def summarize_status(report: StatusReport) -> str:
    """`OK`, `WARNING` or `CRITICAL`, and the worst finding."""
    if not report.findings:
        count = len(report.bridges)
        return f"{report.level.name}: {count} bridge{'' if count == 1 else 's'} of {report.stack}"
    first, *rest = report.findings
    more = f" (and {len(rest)} more)" if rest else ""
    return f"{report.level.name}: {first.text}{more}"


def _list_cells(row: Row) -> tuple[str, ...]:
    return (row.name, row.level.word, *row.cells)


def _align_columns(rows: Sequence[tuple[str, ...]]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(*rows)]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip() for row in rows]

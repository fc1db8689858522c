"""The report of `status` as text: a summary, tables, and what to do."""

from __future__ import annotations

from verdicts.status.report import Row, StatusReport

BRIDGE_HEAD = ("BRIDGE", "LEVEL", "CONTAINER", "READY", "PING", "LAST EVENT", "LAST GOOD DUMP", "NEWEST ARCHIVE")
SHARED_HEAD = ("SHARED", "LEVEL", "STATE")


def format_status(report: StatusReport) -> str:
    """The report for a person. A monitoring program shows the first line alone, so that line says the worst. Below the
    tables stands what to do."""
    blocks = [[_summarize(report)]]
    if report.bridges:
        blocks.append(_align_columns(BRIDGE_HEAD, *report.bridges))
    blocks.append(_align_columns(SHARED_HEAD, *report.causes, *report.shared))
    if report.findings:
        blocks.append([f"{finding.level.word}: {finding.text}" for finding in report.findings])
    return "\n\n".join("\n".join(block) for block in blocks)


def _summarize(report: StatusReport) -> str:
    """`OK`, `WARNING` or `CRITICAL`, and the worst finding."""
    if not report.findings:
        count = len(report.bridges)
        return f"{report.level.name}: {count} bridge{'' if count == 1 else 's'} of {report.stack}"
    first, *rest = report.findings
    more = f" (and {len(rest)} more)" if rest else ""
    return f"{report.level.name}: {first.text}{more}"


def _align_columns(head: tuple[str, ...], *rows: Row) -> list[str]:
    lines = [head, *((row.name, row.level.word, *row.cells) for row in rows)]
    widths = [max(map(len, column)) for column in zip(*lines)]
    return ["  ".join(cell.ljust(width) for cell, width in zip(line, widths)).rstrip() for line in lines]

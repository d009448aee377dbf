"""Figures as cells, and cells as a table in Markdown."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence

_MARKER = re.compile(
    r"(<!-- bench:begin (?P<name>[^ ]+) -->\n)(?P<body>.*?)(<!-- bench:end (?P=name) -->)", re.S
)


def fill(page: str, found: Mapping[str, str], data: str, known: Collection[str]) -> str:
    """The page with each of the tables that were ``found`` between its markers.

    A marker's name is a table's, or ``table/data set``: then it takes figures of that set only.
    Raises ValueError for a name that is not ``known``.
    """

    def replace(match: re.Match[str]) -> str:
        name, _, wanted = match["name"].partition("/")
        if name not in known:
            raise ValueError(f"no such table: {match['name']!r}; there are {', '.join(known)}")
        if name not in found or (wanted and wanted != data):
            return match[0]
        return f"{match[1]}{found[name]}{match[4]}"

    return _MARKER.sub(replace, page)


def table(head: Sequence[str], rows: Sequence[Sequence[str]], note: str = "") -> str:
    widths = [max(len(row[i]) for row in [head, *rows]) for i in range(len(head))]

    def line(cells: Sequence[str]) -> str:
        padded = [
            cell.ljust(width) if i == 0 else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(cells, widths, strict=True))
        ]
        return f"| {' | '.join(padded)} |\n"

    rule = [("-" * width) if i == 0 else "-" * (width - 1) + ":" for i, width in enumerate(widths)]
    text = line(head) + line(rule) + "".join(map(line, rows))
    return f"\n{text}\n{note}\n\n" if note else f"\n{text}\n"


def number(value: float | None) -> str:
    """Three digits that matter."""
    if value is None:
        return "–"
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.3g}" if abs(value) < 10 else f"{value:.1f}"


def mib(size: float) -> str:
    return f"{size / 2**20:.1f}"

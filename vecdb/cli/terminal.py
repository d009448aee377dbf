"""Text for people: sizes, times, tables, and a screen that may be told to be quiet."""

from __future__ import annotations

import os
import shutil
import sys
import textwrap
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from vecdb.engine.memory.explanation import size as size

_LARGEST_WIDTH = 100  # longer lines are hard to read, however wide the window is
_LABEL_WIDTH = 30


def duration(seconds: float) -> str:
    """A time in words: ``85 µs``, ``2.1 ms``, ``12 ms``, ``0.45 s``, ``1.3 s``."""
    if seconds < 999.5e-6:
        return f"{seconds * 1e6:.0f} µs"
    if seconds < 0.1:
        return f"{seconds * 1e3:.{1 if seconds < 0.00995 else 0}f} ms"
    return f"{seconds:.{2 if seconds < 1 else 1}f} s"


def count(number: int, noun: str) -> str:
    """``1 file``, ``5,000 files``."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def table(headers: Sequence[str], rows: Sequence[Sequence[str]], left: int = 1) -> list[str]:
    """Lines of columns, the first ``left`` of them flush left and the others right."""
    cells = [list(headers), *map(list, rows)]
    widths = [max(len(row[i]) for row in cells) for i in range(len(headers))]
    lines = []
    for row in cells:
        padded = [
            cell.ljust(width) if i < left else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        lines.append("  ".join(padded).rstrip())
    return lines


class Screen:
    """Standard output for a person: plain text, emphasis only on a terminal that wants it.

    A quiet screen shows nothing at all, so that the same code can serve ``--json``.
    """

    def __init__(self, *, quiet: bool = False) -> None:
        self.quiet = quiet
        self.width = min(shutil.get_terminal_size((80, 24)).columns, _LARGEST_WIDTH)
        self._colour = (
            sys.stdout.isatty()
            and not os.environ.get("NO_COLOR")  # no-color.org: set and not empty
            and os.environ.get("TERM") != "dumb"
        )
        # A bar in a log file is a mess of carriage returns.
        self._bars = sys.stderr.isatty() and not quiet

    def line(self, text: str = "") -> None:
        """One line as it is."""
        if not self.quiet:
            print(text, flush=True)

    def paragraph(self, text: str, indent: str = "") -> None:
        """Text, broken at the width of the screen."""
        lines = textwrap.wrap(text, self.width - 1, initial_indent=indent, subsequent_indent=indent)
        for line in lines:
            self.line(line)

    def cut(self, text: str) -> None:
        """One line, with an ellipsis if it is too long for the screen."""
        room = self.width - 1
        self.line(text if len(text) <= room else text[: room - 1].rstrip() + "…")

    def table(
        self, headers: Sequence[str], rows: Sequence[Sequence[str]], left: int = 1, indent: str = ""
    ) -> None:
        """A table, its header emphasised."""
        header, *lines = table(headers, rows, left)
        self.line(indent + self.faint(header))
        for line in lines:
            self.line(indent + line)

    def bold(self, text: str) -> str:
        """Emphasised, where the terminal can."""
        return f"\x1b[1m{text}\x1b[0m" if self._colour else text

    def faint(self, text: str) -> str:
        """Held back, where the terminal can."""
        return f"\x1b[2m{text}\x1b[0m" if self._colour else text

    @contextmanager
    def bar(self, label: str, total: int | None = None) -> Iterator[Bar]:
        """A progress bar on standard error that goes away when it is done."""
        if not self._bars:
            yield Bar(None)
            return
        from tqdm import tqdm

        bar = tqdm(
            total=total,
            desc=f"   {label}"[:_LABEL_WIDTH],
            leave=False,
            ncols=self.width - 1,
            bar_format="{desc} {percentage:3.0f}% |{bar}| {n_fmt}/{total_fmt} {elapsed}",
        )
        try:
            yield Bar(bar)
        finally:
            bar.close()


class Bar:
    """A progress bar, or nothing where none is shown."""

    def __init__(self, bar: Any) -> None:
        self._bar = bar

    def at(self, done: int, total: int | None = None) -> None:
        """``done`` of ``total`` steps are done."""
        if self._bar is None:
            return
        if total is not None:
            self._bar.total = total
        self._bar.n = done
        self._bar.refresh()

    def at_byte(self, done: int, total: int) -> None:
        """``done`` of ``total`` bytes are done; shown are megabytes."""
        if self._bar is not None and done // 1_000_000 != self._bar.n:
            self.at(done // 1_000_000, max(1, total // 1_000_000))

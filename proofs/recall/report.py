"""What a run says: its wrong cells, a line a generator, JSON, a table in the docs."""

from __future__ import annotations

import datetime
import json
import shlex
import statistics
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

from proofs.recall.cells import Asking, Place
from proofs.recall.generators import ALL
from proofs.recall.judge import Cell, is_usual

BEGIN = "<!-- recall: written by python -m proofs.recall --markdown docs/benchmarks.md -->"
END = "<!-- end of recall -->"


def print_wrong(cells: list[Cell], said: list[str]) -> None:
    """Each wrong cell, a collection at a time, with the command that measures it again: ``said`` is
    what that has to say besides."""
    by_place: dict[Place, list[Cell]] = defaultdict(list)
    for cell in cells:
        if cell.wrong:
            by_place[cell.place].append(cell)
    for place, wrong in by_place.items():
        command = shlex.join(["python", "-m", "proofs.recall", "--place", place.id, *said])
        print(f"\n{place.id}\n    {command}")
        for cell in wrong:
            for why in cell.wrong:
                print(f"    {cell.asking.name:32} {why}", flush=True)


def summary(cells: list[Cell]) -> dict[str, Any]:
    """The figures in short."""
    promised = [cell for cell in cells if cell.margin is not None]
    defaults = [c for c in cells if c.asking == Asking() and c.place.way == "index" and c.work]
    kinds = Counter(why.split(":")[0] for cell in cells for why in cell.wrong)
    return {
        "collections": len({cell.place for cell in cells}),
        "cells": len(cells),
        "generators": len({cell.place.generator for cell in cells}),
        "wrong": sum(bool(cell.wrong) for cell in cells),
        "wrong_by_kind": dict(kinds.most_common()),
        "worst_margin": round(min((c.margin or 0 for c in promised), default=0), 4),
        "default_with_index": len(defaults),
        "default_that_scan_all": sum(cell.work["whole"] > 0.5 for cell in defaults),
    }


def print_summary(cells: list[Cell], plain: dict[str, str]) -> None:
    """A line a generator, and all in short."""
    width = max(len(cell.place.generator) for cell in cells)
    print(f"\n{'':{width}}  cells  wrong  worst margin  scan all  than plain: rows   p50")
    for name, mine in _by_generator(cells).items():
        lowest = min((c.margin for c in mine if c.margin is not None), default=0.0)
        wrong = sum(bool(cell.wrong) for cell in mine)
        ratios = "" if name not in plain else _than_plain(cells, name, plain[name])
        print(
            f"{name:{width}} {len(mine):6} {wrong:6} {lowest:+13.3f} {_scanning(mine):>9} {ratios}"
        )
    figures = summary(cells)
    kinds = ", ".join(f"{count} {kind}" for kind, count in figures["wrong_by_kind"].items())
    print(
        f"\n{figures['cells']:,} cells of {figures['collections']:,} collections, "
        f"{figures['wrong']:,} wrong{f' ({kinds})' if kinds else ''}; of "
        f"{figures['default_with_index']} default searches by index "
        f"{figures['default_that_scan_all']} scan all originals"
    )


def _by_generator(cells: list[Cell]) -> dict[str, list[Cell]]:
    found: dict[str, list[Cell]] = defaultdict(list)
    for cell in cells:
        found[cell.place.generator].append(cell)
    return found


def _scanning(cells: list[Cell]) -> str:
    """Of how many collections with an index the default search scans all originals."""
    defaults = [c for c in cells if c.asking == Asking() and c.place.way == "index" and c.work]
    return f"{sum(c.work['whole'] > 0.5 for c in defaults)}/{len(defaults)}"


def _than_plain(cells: list[Cell], name: str, plain: str) -> str:
    """How many times as many rows a default search looks at as among the same rows without what is
    special, and as long it takes; each the median of metrics. A sketch is a fraction of a row."""
    usual = {(c.place.generator, c.place.metric): c.work for c in cells if is_usual(c)}
    pairs = [(usual.get((name, metric)), usual.get((plain, metric))) for metric in ALL]
    both = [(special, other) for special, other in pairs if special and other]
    if not both:
        return ""
    looked = statistics.median(_looked_at(special) / _looked_at(other) for special, other in both)
    took = statistics.median(special["p50"] / other["p50"] for special, other in both)
    return f"{looked:16.2f} {took:5.2f}"


def _looked_at(work: dict[str, float]) -> float:
    return work["sketches"] / 32 + work["codes"] / 4 + work["originals"]


# -- files -------------------------------------------------------------------------------------


def write_json(path: Path, cells: list[Cell], setting: dict[str, Any]) -> None:
    """Setting, figures, and all cells, a line each."""
    head = json.dumps({"setting": setting, "summary": summary(cells)}, indent=1)
    lines = ",\n".join(json.dumps(cell.as_json()) for cell in cells)
    path.write_text(f'{head[:-2]},\n "cells": [\n{lines}\n]}}\n')


def table(cells: list[Cell], setting: dict[str, Any], plain: dict[str, str]) -> str:
    """A row a generator: by metric the least that a recall was above what was asked for."""
    figures = summary(cells)
    lines = [
        BEGIN,
        "",
        f"`{setting['command']}`, {datetime.date.today().isoformat()}, "
        f"{setting['commit'] or 'unknown commit'}: {figures['generators']} generators, "
        f"{figures['collections']:,} collections, {figures['cells']:,} cells, "
        f"**{figures['wrong']:,} wrong**. Of {figures['default_with_index']} default searches by "
        f"an index, {figures['default_that_scan_all']} scan all originals.",
        "",
        "| generator | " + " | ".join(ALL) + " | cells | wrong | scan all |",
        "| --- |" + " ---: |" * (len(ALL) + 3),
    ]
    for name, mine in _by_generator(cells).items():
        margins = []
        for metric in ALL:
            promised = [c.margin for c in mine if c.place.metric == metric]
            known = [margin for margin in promised if margin is not None]
            margins.append(f"{min(known):+.3f}" if known else "")
        wrong = sum(bool(cell.wrong) for cell in mine)
        lines.append(
            f"| {name} | {' | '.join(margins)} | {len(mine)} | {wrong} | {_scanning(mine)} |"
        )
    return "\n".join([*lines, "", END])


def write_table(page: Path, text: str) -> None:
    """Put the table between the marks of a page."""
    before, rest = page.read_text().split(BEGIN)
    page.write_text(before + text + rest.split(END)[1])

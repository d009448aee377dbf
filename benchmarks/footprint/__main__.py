"""Measure what memory each storage mode takes on a folder of vectors, and what a limit costs.

    python -m benchmarks.footprint --data DIR --json FILE             measure, print tables
    python -m benchmarks.footprint --data DIR --scale 20 --json FILE  20 times the rows, with noise
    python -m benchmarks.footprint --json FILE --markdown PAGE --plots DIR

DIR holds what ``python -m benchmarks`` takes. Each kind of codes is built once; each mode is
searched by a fresh process, without a limit of its memory and with some. docs/footprint.md says
what the figures mean. Tables go to standard output, progress to standard error.
"""

from __future__ import annotations

import argparse
import json
import re
import signal
import sys
from pathlib import Path
from typing import Any

from benchmarks import processor

_UNITS = {"KB": 10**3, "MB": 10**6, "GB": 10**9, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30}


def main(arguments: list[str] | None = None) -> int:
    options = _parse(arguments)
    if options.data is None:
        results = json.loads(options.json.read_text())
    else:
        signal.signal(signal.SIGTERM, signal.default_int_handler)
        try:
            results = _measure(options)
        except KeyboardInterrupt:
            print("footprint: stopped; temporary directories are removed", file=sys.stderr)
            return 130
    from benchmarks.footprint import report

    if options.data is not None:
        for text in report.tables(results).values():
            print(text)
    if options.markdown is not None:
        page = options.markdown.read_text(encoding="utf-8")
        options.markdown.write_text(report.fill(page, results), encoding="utf-8")
    if options.plots is not None:
        from benchmarks.footprint import plot

        for path in plot.draw(results, options.plots):
            print(path, file=sys.stderr)
    return 0


def _parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.footprint",
        description="Measure the memory of each storage mode on a folder of vectors.",
    )
    add = parser.add_argument
    add("--data", type=Path, help="folder of base.npy, queries.npy and more")
    add("--scale", type=int, default=1, help="so many times the rows, with noise (default 1)")
    add("--rows", type=int, help="so many rows, instead of --scale")
    add("--json", type=Path, help="write the results here after each cell; read without --data")
    add("--resume", action="store_true", help="measure only what the file of --json does not have")
    add("--markdown", type=Path, help="fill the tables of this page")
    add("--plots", type=Path, help="folder for pictures")
    add(
        "--systems",
        dest="named",
        type=_words,
        help="those that begin with one of these words, comma-separated",
    )
    add("--codes", type=_words, help="likewise: none, scalar, binary, product, turbo")
    add("--no-peers", action="store_true", help="measure vecdb only")
    add(
        "--limits",
        default="100%,50%,25%",
        help="of memory: a size (256MB), or a share of the originals and what --allow adds",
    )
    add(
        "--allow",
        default="64MiB",
        help="what a limit that is a share leaves for the process itself (default 64MiB)",
    )
    add("--recall", type=float, default=0.95, help="what searches are to reach (default 0.95)")
    add("--searches", type=int, default=1000, help="how many, warm (default 1000)")
    add("--cold", type=int, default=100, help="how many, right after the start (default 100)")
    add("--seconds", type=float, default=5.0, help="the most a pass of searches takes (default 5)")
    add("--databases", type=Path, help="keep databases here, and use those that are here")
    add("--workdir", type=Path, help="where databases are made otherwise; must be a real disk")
    add("--metric", help="cosine, dot or l2 (default: the data's own)")
    add("--seed", type=int, default=1, help="for noise (default 1)")
    add("--core", type=int, help="processor to search on (default: the last)")
    add("--quick", action="store_true", help="few searches, one limit: does it work?")
    parser.set_defaults(systems=None, sizes=None)  # of the other tool's run
    options = parser.parse_args(arguments)
    options.allow = _size(parser, "--allow", options.allow)
    limits = options.limits.split(",") if options.limits else []
    options.limits = {text: _limit(parser, text) for text in limits}
    if options.scale < 1:
        parser.error(f"--scale: expected 1 or more, got {options.scale}")
    if options.quick:
        options.limits = dict(list(options.limits.items())[:1])
        options.searches, options.cold = 20, 10
    if options.resume and options.json is None:
        parser.error("--resume needs --json")
    if options.data is None and (
        options.json is None or (options.markdown is None and options.plots is None)
    ):
        parser.error("--data is needed, or --json with --markdown or --plots")
    return options


def _words(text: str) -> list[str]:
    return [word.strip() for word in text.split(",")]


def _size(parser: argparse.ArgumentParser, option: str, text: str) -> int:
    found = re.fullmatch(r"(\d{1,12})([KMG]i?B)", text)
    if found is None:
        parser.error(f"{option}: expected a size as 256MB or 64MiB, got {text!r}")
    return int(found[1]) * _UNITS[found[2]]


def _limit(parser: argparse.ArgumentParser, text: str) -> int | float:
    """A size in bytes, or a share of the originals."""
    share = re.fullmatch(r"(\d{1,4})%", text)
    return int(share[1]) / 100 if share else _size(parser, "--limits", text)


def _measure(options: argparse.Namespace) -> dict[str, Any]:
    """Cell by cell. What there is goes into the file each time: a run takes long."""
    core, cores = processor.pin(options.core)

    from benchmarks.common import Run
    from benchmarks.data import rows_of
    from benchmarks.footprint import counters
    from benchmarks.footprint.cells import CELLS, chosen
    from benchmarks.footprint.measure import Footprint
    from benchmarks.process import Failed
    from benchmarks.systems import missing

    cells = chosen(options.named, options.codes, not options.no_peers)
    if not cells:
        raise SystemExit("footprint: --systems and --codes leave nothing to measure")
    if options.rows is None and options.scale > 1:
        options.rows = options.scale * rows_of(options.data)
    with Run(options, core, cores) as run:
        original_bytes = 4 * run.rows * run.dim
        limits = {
            name: int(original_bytes * limit) + options.allow if isinstance(limit, float) else limit
            for name, limit in options.limits.items()
        }
        footprint = Footprint(run, options, limits)
        asked = {
            "data": run.about_data(),
            "seed": run.seed,
            "recall": options.recall,
            "searches": options.searches,
            "cold": options.cold,
            "seconds": options.seconds,
            "limits": limits,
        }
        results: dict[str, Any] = {
            "setting": run.setting(),
            "asked": asked,
            "original_bytes": original_bytes,
            "read_ahead_bytes": counters.read_ahead(footprint.databases),
            "no_limits": footprint.no_limits,
            "cells": _kept(options, asked),
            "skipped": {},
            "failed": {},
        }
        names = [(cell.system, cell.codes, cell.mode) for cell in CELLS]
        there = {(one["system"], one["codes"], one["mode"]) for one in results["cells"]}
        for cell in cells:
            if (cell.system, cell.codes, cell.mode) in there:
                continue
            why = missing(cell.system)
            if why is not None:
                results["skipped"][cell.system] = why
                continue
            try:
                results["cells"].append(footprint.measure(cell))
            except Failed as failed:
                run.say(f"{cell.label} failed: {failed}")
                results["failed"][cell.label] = str(failed)
            results["cells"].sort(
                key=lambda one: names.index((one["system"], one["codes"], one["mode"]))
            )
            if options.json is not None:
                options.json.write_text(json.dumps(results, indent=1) + "\n")
    return results


def _kept(options: argparse.Namespace, asked: dict[str, Any]) -> list[dict[str, Any]]:
    """The cells that an earlier run has measured, which asked for the same."""
    if not options.resume or not options.json.exists():
        return []
    earlier = json.loads(options.json.read_text())
    for name, value in asked.items():
        if earlier["asked"][name] != value:
            raise SystemExit(
                f"footprint: --resume: {options.json} has {name} {earlier['asked'][name]}, "
                f"and {value} is asked for now"
            )
    cells: list[dict[str, Any]] = earlier["cells"]
    return cells


if __name__ == "__main__":
    sys.exit(main())

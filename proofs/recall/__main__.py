"""Recall: whether a search finds what it was asked to find, for any data.

Dozens of kinds of data and queries (``generators.py``), each under its metrics, with every
kind of codes, with and without an index, in RAM and mapped (``cells.py``), are asked in
many ways, and what is found is compared with exact search in float64, by score. A cell is wrong
(``judge.py``) where less is found than was asked for, where asking for more finds less,
where a score, the order or a row is not true, and where a few special rows make every search scan
all originals.

    python -m proofs.recall --quick                            minutes on one core
    python -m proofs.recall --jobs 2 --data DIR                all of it: an hour of two cores
    python -m proofs.recall --generator bits --metric Dot      a part, as it is in all of it
    python -m proofs.recall --place PLACE --rows N             one collection, as it is printed
    python -m proofs.recall --markdown docs/benchmarks.md      and the table there

DIR holds a set of real vectors, or several (``base.npy`` or ``vectors.npy``, and ``queries.npy``;
see docs/benchmarks.md); without it, only the example data is. Exit code 0: no cell is wrong; else
each is printed with the command that measures it again.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from itertools import groupby
from pathlib import Path
from typing import Any

# Before numpy: each job is to keep to its processor.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
os.environ.setdefault("MKL_NUM_THREADS", "1")

from proofs.arguments import at_least_one, file_to_write
from proofs.recall import report
from proofs.recall.cells import CODES, WAYS, Place, plan
from proofs.recall.generators import ALL, GENERATORS, Generator, named, real_sets
from proofs.recall.judge import Cell, spoiled
from proofs.recall.tasks import JobDied, Task, results

ROOT = Path(__file__).resolve().parent.parent.parent
EXAMPLES = ROOT / "examples" / "data"
ROWS = {"quick": 4000, "full": 6000}
PART = ("generator", "metric", "codes", "way")
"""The options that choose a part of the plan."""


class Run:
    """One run: what was asked for, and the cells so far."""

    def __init__(self, options: argparse.Namespace, generators: dict[str, Generator]) -> None:
        self.options = options
        self.rows: int = options.rows or ROWS["quick" if options.quick else "full"]
        self.places = options.place or [
            place
            for place in plan(generators.values(), quick=options.quick)
            if all(getattr(place, n) in (getattr(options, n) or [getattr(place, n)]) for n in PART)
        ]
        self.plain = {g.name: g.plain for g in generators.values() if g.plain is not None}
        self.cells: list[Cell] = []
        self.setting: dict[str, Any] = {
            "command": " ".join(["python -m proofs.recall", *_part(options), *_said(options)]),
            "commit": _commit(),
            "rows": self.rows,
            "queries": options.queries,
            "seed": options.seed,
        }

    def all(self, directory: Path) -> int:
        """Measures all, or until it is interrupted or a job dies; the exit code that this means: 0
        if all is done. Wrong cells are printed, and all are written, as they come."""
        by_data = groupby(self.places, key=lambda place: (place.generator, place.metric))
        tasks = [
            Task(
                name,
                tuple(places),
                self.rows,
                self.options.queries,
                self.options.seed,
                (EXAMPLES, *self.options.data),
                directory,
            )
            for (name, _), places in by_data
        ]
        random.Random(self.options.seed).shuffle(tasks)  # what there is soon is a bit of everything
        started = written = time.monotonic()
        done = 0
        try:
            for task, cells in results(tasks, self.options.jobs):
                done += len(task.places)
                self.cells += cells
                self._print_wrong(cells)
                self._say(done, time.monotonic() - started)
                if time.monotonic() - written > 60:
                    written = time.monotonic()
                    self.write()
        except KeyboardInterrupt:
            print("\nrecall: stopped; this is what there was until then", file=sys.stderr)
            return 130
        except JobDied as error:
            print(f"\nrecall: {error}", file=sys.stderr)
            return 1
        finally:
            self.setting["seconds"] = round(time.monotonic() - started)
            order = {place: number for number, place in enumerate(self.places)}
            self.cells.sort(key=lambda cell: order[cell.place])
            self._print_wrong(spoiled(self.cells, self.plain))
        print(file=sys.stderr)
        return 0

    def write(self) -> None:
        """The cells so far."""
        if self.options.json is not None:
            report.write_json(self.options.json, self.cells, self.setting)

    def _print_wrong(self, cells: list[Cell]) -> None:
        data = ["--data", *map(str, self.options.data)] if self.options.data else []
        said = ["--rows", str(self.rows), *_said(self.options)]
        for real in (False, True):
            some = [cell for cell in cells if (cell.place.generator not in GENERATORS) == real]
            report.print_wrong(some, said + data if real else said)

    def _say(self, done: int, seconds: float) -> None:
        wrong = sum(bool(cell.wrong) for cell in self.cells)
        left = seconds / done * (len(self.places) - done)
        print(
            f"\r{done} of {len(self.places)} collections, {wrong} of {len(self.cells)} cells "
            f"wrong, {left / 60:.0f} minutes left   ",
            end="",
            file=sys.stderr,
            flush=True,
        )


def main() -> int:
    parser, options = _options()
    generators = named((EXAMPLES, *options.data))
    if options.generator == ["list"]:
        for name, generator in generators.items():
            print(f"{name:30} {generator.dim:5} dimensions, {', '.join(generator.metrics)}")
        return 0
    asked = {*(options.generator or ()), *(place.generator for place in options.place or ())}
    unknown = asked - set(generators)
    if unknown:
        parser.error(f"unknown {', '.join(sorted(unknown))}; --generator list names all")
    run = Run(options, generators)
    if not run.places:
        parser.error("no collection of the plan has all of this")
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # databases are removed then, too
    shared_memory = Path("/dev/shm")
    parent = shared_memory if os.access(shared_memory, os.W_OK) else None
    with tempfile.TemporaryDirectory(prefix="vecdb-recall-", dir=parent) as directory:
        code = run.all(Path(directory))
    run.write()
    if run.cells:
        report.print_summary(run.cells, run.plain)
    if options.markdown is not None and code == 0:
        report.write_table(options.markdown, report.table(run.cells, run.setting, run.plain))
    return code or int(any(cell.wrong for cell in run.cells))


def _options() -> tuple[argparse.ArgumentParser, argparse.Namespace]:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="a part of the plan, fewer rows")
    parser.add_argument("--generator", nargs="+", metavar="NAME", help="'list': say which")
    parser.add_argument("--place", nargs="+", type=_place, help="just these, as they are printed")
    parser.add_argument("--metric", nargs="+", choices=ALL)
    parser.add_argument("--codes", nargs="+", choices=CODES)
    parser.add_argument("--way", nargs="+", choices=WAYS, help="with an index, without, …")
    parser.add_argument("--rows", type=at_least_one, help=f"stored rows (default: {ROWS})")
    parser.add_argument("--queries", type=at_least_one, default=100, help="more where in doubt")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--jobs", type=at_least_one, default=1, help="processes")
    parser.add_argument("--data", nargs="+", type=_folder, default=[], help="real sets, too")
    parser.add_argument("--json", type=file_to_write, help="write all cells here")
    parser.add_argument("--markdown", type=_page, help="write the table into this page")
    return parser, parser.parse_args()


def _said(options: argparse.Namespace) -> list[str]:
    """Options that change what a cell is, as they were given."""
    words: list[str] = []
    for name, usual in (("queries", 100), ("seed", 1)):
        value = getattr(options, name)
        words += [] if value == usual else [f"--{name}", str(value)]
    return words


def _part(options: argparse.Namespace) -> list[str]:
    """Options that say which cells there are."""
    words = ["--quick"] if options.quick else []
    words += [] if options.rows is None else ["--rows", str(options.rows)]
    words += [] if options.place is None else [f"--place {place.id}" for place in options.place]
    words += ["--data", "DIR"] if options.data else []
    for name in PART:
        chosen = getattr(options, name)
        words += [] if chosen is None else [f"--{name}", *chosen]
    return words


def _place(text: str) -> Place:
    try:
        return Place.parse(text)
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"expected a collection as it is printed with a wrong cell, got {text!r}"
        ) from None


def _folder(text: str) -> Path:
    path = Path(text)
    if not path.is_dir() or not real_sets((path,)):
        raise argparse.ArgumentTypeError(
            f"expected a folder with base.npy (or vectors.npy) and queries.npy, or with such "
            f"folders, got {text!r}"
        )
    return path


def _page(text: str) -> Path:
    path = Path(text)
    if not path.is_file() or report.BEGIN not in path.read_text():
        raise argparse.ArgumentTypeError(f"expected a page with the line {report.BEGIN}")
    return path


def _commit() -> str:
    command = ["git", "-C", str(ROOT), "describe", "--always", "--dirty", "--abbrev=7"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return ""


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)

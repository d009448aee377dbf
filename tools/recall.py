"""Recall: whether a search finds what it was asked to find, for any data.

Dozens of kinds of data and queries (``recalls/generators.py``), each under its metrics, with every
kind of codes, with and without an index, in RAM and mapped (``recalls/cells.py``), are asked in
many ways, and what is found is compared with exact search in float64, by score. A cell is wrong
(``recalls/judge.py``) where less is found than was asked for, where asking for more finds less,
where a score, the order or a row is not true, and where a few special rows make every search scan
all originals.

    python tools/recall.py --quick                            minutes on one core
    python tools/recall.py --jobs 2 --data DIR                all of it: most of an hour
    python tools/recall.py --generator bits --metric Dot      a part, as it is in all of it
    python tools/recall.py --markdown docs/benchmarks.md      and the table there

DIR holds a set of real vectors, or several (``base.npy`` or ``vectors.npy``, and ``queries.npy``;
see docs/benchmarks.md); without it, only the example data is. Exit code 0: no cell is wrong; else
each is printed with the command that measures it again.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_name, "1")  # before numpy: each job is to keep to its processor
HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent)]

from arguments import at_least_one, file_to_write  # noqa: E402
from recalls import report  # noqa: E402
from recalls.cells import CODES, WAYS, Asking, Place, askings, plan  # noqa: E402
from recalls.generators import ALL, GENERATORS, Data, Generator, real_sets  # noqa: E402
from recalls.judge import Cell, judge, spoiled  # noqa: E402
from recalls.measure import Collection  # noqa: E402
from recalls.truth import Truth  # noqa: E402
from vecdb.database import VecDB  # noqa: E402

EXAMPLES = HERE.parent / "examples" / "data"
ROWS = {"quick": 4000, "full": 8000}


@dataclass(frozen=True)
class Task:
    """Collections of the same data and metric: one job makes them, one after the other."""

    generator: Generator
    places: tuple[Place, ...]
    rows: int
    queries: int
    seed: int
    directory: Path

    def run(self) -> list[Cell]:
        """All cells."""
        data = self.generator.data(self.rows, self.seed)
        truth = Truth(data, self.places[0].metric)
        path = Path(tempfile.mkdtemp(dir=self.directory))
        cells = []
        with VecDB(path) as db:
            for place in self.places:
                cells += self._measured(db, place, data, truth)
        shutil.rmtree(path)
        return cells

    def _measured(self, db: VecDB, place: Place, data: Data, truth: Truth) -> list[Cell]:
        """The cells of one collection. What is not sure is asked again with all queries."""
        try:
            collection = Collection(db, place, data, truth, self.seed)
        except Exception as error:
            return [Cell(place, Asking(), wrong=[f"error: {type(error).__name__}: {error}"])]
        found, failed = {}, []
        try:
            some = min(self.queries, len(data.queries))
            for asking in askings(place):
                try:
                    found[asking] = collection.ask(asking, 0, some)
                except Exception as error:
                    why = f"error: {type(error).__name__}: {error}"
                    failed.append(Cell(place, asking, wrong=[why]))
            cells, doubtful = judge(place, found, truth, collection.masks)
            if doubtful and some < len(data.queries):
                for asking in doubtful:
                    found[asking].extend(collection.ask(asking, some, len(data.queries)))
                cells, _ = judge(place, found, truth, collection.masks)
        finally:
            collection.close()
        if collection.problems:
            cells[0].wrong += [f"error: {problem}" for problem in collection.problems]
        return cells + failed


def main() -> int:
    options, said = _options()
    generators = GENERATORS | real_sets([EXAMPLES, *options.data])
    places = [
        place
        for place in plan(generators.values(), quick=options.quick)
        if (options.generator is None or place.generator in options.generator)
        and (options.metric is None or place.metric in options.metric)
        and (options.codes is None or place.codes in options.codes)
        and (options.way is None or place.way in options.way)
    ]
    if not places:
        print("recall: no collection of the plan has all of this", file=sys.stderr)
        return 2
    rows = options.rows or ROWS["quick" if options.quick else "full"]
    shared_memory = Path("/dev/shm")
    parent = shared_memory if os.access(shared_memory, os.W_OK) else None
    with tempfile.TemporaryDirectory(prefix="vecdb-recall-", dir=parent) as directory:
        tasks = [
            Task(
                generators[name], tuple(group), rows, options.queries, options.seed, Path(directory)
            )
            for (name, _), group in groupby(places, key=lambda p: (p.generator, p.metric))
        ]
        started = time.monotonic()
        cells, unfinished = _run(tasks, options.jobs)
    cells.sort(key=lambda cell: places.index(cell.place))
    plain = {g.name: g.plain for g in generators.values() if g.plain is not None}
    spoiled(cells, plain)
    if cells:
        report.print_wrong(cells, said)
        report.print_summary(cells, plain)
    setting = {
        "command": " ".join(["python tools/recall.py", *_shown(options)]),
        "commit": _commit(),
        "rows": rows,
        "queries": options.queries,
        "seed": options.seed,
        "seconds": round(time.monotonic() - started),
    }
    if options.json is not None:
        report.write_json(options.json, cells, setting)
    if options.markdown is not None and not unfinished:
        report.write_table(options.markdown, report.table(cells, setting, plain))
    return unfinished or int(any(cell.wrong for cell in cells))


def _options() -> tuple[argparse.Namespace, list[str]]:
    """The options, and those that measuring a cell again has to say, too."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="a part of the plan, fewer rows")
    parser.add_argument("--generator", nargs="+", metavar="NAME", help="'list': say which")
    parser.add_argument("--metric", nargs="+", choices=ALL)
    parser.add_argument("--codes", nargs="+", choices=CODES)
    parser.add_argument("--way", nargs="+", choices=WAYS, help="with an index, without, …")
    parser.add_argument("--rows", type=at_least_one, help=f"stored rows (default: {ROWS})")
    parser.add_argument("--queries", type=at_least_one, default=120, help="more where in doubt")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--jobs", type=at_least_one, default=1, help="processes")
    parser.add_argument("--data", nargs="+", type=_folder, default=[], help="real sets, too")
    parser.add_argument("--json", type=file_to_write, help="write all cells here")
    parser.add_argument("--markdown", type=_page, help="write the table into this page")
    options = parser.parse_args()
    known = GENERATORS | real_sets([EXAMPLES, *options.data])
    if options.generator == ["list"]:
        for name, generator in known.items():
            print(f"{name:30} {generator.dim:5} dimensions, {', '.join(generator.metrics)}")
        sys.exit(0)
    unknown = set(options.generator or ()) - set(known)
    if unknown:
        parser.error(f"--generator: unknown {', '.join(sorted(unknown))}; 'list' names them")
    return options, _shown(options, again=True)


def _shown(options: argparse.Namespace, *, again: bool = False) -> list[str]:
    """Options that change what is found, as they were given."""
    words = ["--quick"] if options.quick else []
    words += [] if options.rows is None else ["--rows", str(options.rows)]
    words += [] if options.queries == 120 else ["--queries", str(options.queries)]
    words += [] if options.seed == 1 else ["--seed", str(options.seed)]
    if options.data:
        words += ["--data", *(map(str, options.data) if again else ["DIR"])]
    if not again:
        for name in ("generator", "metric", "codes", "way"):
            chosen = getattr(options, name)
            words += [] if chosen is None else [f"--{name}", *chosen]
    return words


def _folder(text: str) -> Path:
    path = Path(text)
    if not path.is_dir() or not real_sets([path]):
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


def _run(tasks: list[Task], jobs: int) -> tuple[list[Cell], int]:
    """All cells, or those there were when it was interrupted, or a job died; and the exit code
    that this means: 0 if all is done."""
    cells: list[Cell] = []
    started = time.monotonic()
    total = sum(len(task.places) for task in tasks)
    done = 0
    try:
        for task, mine in _results(tasks, jobs):
            cells += mine
            done += len(task.places)
            wrong = sum(bool(cell.wrong) for cell in cells)
            left = (time.monotonic() - started) / done * (total - done)
            print(
                f"\r{done} of {total} collections, {wrong} of {len(cells)} cells wrong, "
                f"{left / 60:.0f} minutes left   ",
                end="",
                file=sys.stderr,
                flush=True,
            )
    except KeyboardInterrupt:
        print("\nrecall: stopped; this is what there was until then", file=sys.stderr)
        return cells, 130
    except BrokenProcessPool as error:
        print(f"\nrecall: a job died: {error}", file=sys.stderr)
        return cells, 1
    print(file=sys.stderr)
    return cells, 0


def _results(tasks: list[Task], jobs: int) -> Iterator[tuple[Task, list[Cell]]]:
    if jobs == 1:
        for task in tasks:
            yield task, task.run()
        return
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(jobs, context, _ignore_interrupts) as pool:
        try:
            running: dict[Any, Task] = {pool.submit(_cells_of, task): task for task in tasks}
            for future in as_completed(running):
                yield running[future], future.result()
        except BaseException:
            for child in multiprocessing.active_children():
                child.terminate()
            raise


def _cells_of(task: Task) -> list[Cell]:
    return task.run()


def _ignore_interrupts() -> None:
    """Ctrl-C goes to all processes of a terminal; the first of them ends the others."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _commit() -> str:
    command = ["git", "-C", str(HERE), "describe", "--always", "--dirty", "--abbrev=7"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return ""


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)

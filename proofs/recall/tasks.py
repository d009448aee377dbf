"""Tasks: collections measured one after the other, in this process or in several."""

from __future__ import annotations

import multiprocessing
import shutil
import signal
import tempfile
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from proofs.recall.cells import Asking, Place, askings
from proofs.recall.generators import Data, named
from proofs.recall.judge import Cell, judge
from proofs.recall.measure import Answers, Questions
from proofs.recall.stored import Stored
from proofs.recall.truth import Truth
from vecdb.database import VecDB


@dataclass(frozen=True)
class Task:
    """Collections of the same data and metric: one job makes them, one after the other.
    ``folders`` have real sets; databases are made in ``directory``."""

    generator: str
    places: tuple[Place, ...]
    rows: int
    queries: int
    seed: int
    folders: tuple[Path, ...]
    directory: Path

    def run(self) -> list[Cell]:
        """All cells."""
        data = named(self.folders)[self.generator].data(self.rows, self.seed)
        truth = Truth(data, self.places[0].metric)
        path = Path(tempfile.mkdtemp(dir=self.directory))
        cells: list[Cell] = []
        with VecDB(path) as db:
            for place in self.places:
                cells += self._measured(db, place, data, truth)
        shutil.rmtree(path)
        return cells

    def _measured(self, db: VecDB, place: Place, data: Data, truth: Truth) -> list[Cell]:
        """The cells of one collection. What is not sure is asked again with all queries."""
        try:
            stored = Stored(db, place, data, truth, self.seed)
        except Exception as error:
            return [Cell(place, Asking(), wrong=[f"error: {type(error).__name__}: {error}"])]
        found: dict[Asking, Answers] = {}
        failed: list[Cell] = []
        questions = Questions(stored, data.queries)
        try:
            some = min(self.queries, len(data.queries))
            for asking in askings(place):
                try:
                    found[asking] = questions.ask(asking, 0, some)
                except Exception as error:
                    why = f"error: {type(error).__name__}: {error}"
                    failed.append(Cell(place, asking, wrong=[why]))
            cells, doubtful = judge(place, found, truth, stored.masks)
            if doubtful and some < len(data.queries):
                for asking in doubtful:
                    found[asking].extend(questions.ask(asking, some, len(data.queries)))
                cells, _ = judge(place, found, truth, stored.masks)
        finally:
            stored.close()
        if stored.problems:
            cells[0].wrong += [f"error: {problem}" for problem in stored.problems]
        return cells + failed


class JobDied(Exception):
    """A process was killed, by a signal perhaps; the message says at which collections."""


def results(tasks: list[Task], jobs: int) -> Iterator[tuple[Task, list[Cell]]]:
    """The cells of each task as it ends. Raises JobDied."""
    if jobs == 1:
        for task in tasks:
            yield task, task.run()
        return
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(jobs, context, _ignore_interrupts) as pool:
        try:
            running: dict[Any, Task] = {pool.submit(_cells_of, task): task for task in tasks}
            left = list(tasks)
            for future in as_completed(running):
                task = running[future]
                try:
                    cells = future.result()
                except BrokenProcessPool:
                    at = ", ".join(place.id for each in left[: jobs + 1] for place in each.places)
                    raise JobDied(f"a job died at one of {at}") from None
                left.remove(task)
                yield task, cells
        except BaseException:
            for child in multiprocessing.active_children():
                child.terminate()
            raise


def _cells_of(task: Task) -> list[Cell]:
    return task.run()


def _ignore_interrupts() -> None:
    """Ctrl-C goes to all processes of a terminal; the first of them ends the others."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)

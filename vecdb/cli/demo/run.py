"""The whole demo: the steps in their order, in a directory of its own.

``run`` does the work and returns every figure; what a person reads on the way is written to the
screen it is given.
"""

from __future__ import annotations

import os
import platform
import shlex
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import vecdb
from vecdb.cli.demo import steps
from vecdb.cli.demo.example_data import load_data
from vecdb.cli.demo.measures import answers_to
from vecdb.cli.demo.report import Report
from vecdb.cli.terminal import Screen, duration, size
from vecdb.database import VecDB
from vecdb.errors import AlreadyExistsError
from vecdb.storage import layout


def run(directory: Path | None, screen: Screen) -> Report:
    """Do the whole demo in ``directory``, or in a temporary one that is removed at the end.

    Raises AlreadyExistsError if there is a database, NotADatabaseError if there is anything else.
    """
    if directory is not None:
        _refuse_a_database(directory)
    started = time.monotonic()
    data = load_data()
    rows, dimensions = data.vectors.shape
    screen.line(screen.bold(f"vecdb {vecdb.__version__}: a vector database in one directory"))
    screen.paragraph(
        f"{rows:,} descriptions of Debian packages, each with an embedding of {dimensions} numbers "
        f"({size(data.vectors.nbytes)} as float32); {len(data.queries)} others are the queries."
    )
    with _directory(directory) as path:
        with VecDB(path) as db:
            kernels = steps.warm_up(screen)
            load = steps.load(db, data, screen)
            index = steps.index(db, data, screen)
            methods = steps.quantize(db, data, screen)
            modes = steps.store(db, data, screen)
            before = answers_to(db, data.queries)[0]
            closing = time.monotonic()
        closed = time.monotonic() - closing
        reopen = steps.reopen(path, data, before, closed, screen)
    seconds = time.monotonic() - started
    screen.line()
    if directory is not None:
        kept = shlex.quote(str(directory))
        screen.line(f"Done in {duration(seconds)}. The database is kept: vecdb info {kept}")
    else:
        screen.line(f"Done in {duration(seconds)}. To keep the database: vecdb demo DIR")
    return Report(
        version=vecdb.__version__,
        python=platform.python_version(),
        machine=f"{platform.system()} {platform.machine()}",
        cpus=os.cpu_count() or 1,
        rows=rows,
        dimensions=dimensions,
        queries=len(data.queries),
        kernels=kernels,
        load=load,
        index=index,
        methods=methods,
        storage_modes=modes,
        reopen=reopen,
        database=None if directory is None else str(directory.absolute()),
        seconds=seconds,
    )


def _refuse_a_database(directory: Path) -> None:
    """Refuse a directory that holds a database, an earlier demo's too: the demo must not even open
    it."""
    if (directory / layout.FORMAT).exists():
        raise AlreadyExistsError(
            f"{directory} holds a database already; the demo wants a new or an empty directory. "
            f"To see what is there: vecdb info {shlex.quote(str(directory))}"
        )


@contextmanager
def _directory(given: Path | None) -> Iterator[Path]:
    if given is not None:
        yield given.absolute()  # a directory also if it is called ":memory:"
        return
    with tempfile.TemporaryDirectory(prefix="vecdb-demo-") as temporary:
        yield Path(temporary)

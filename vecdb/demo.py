"""``vecdb demo``: what the database does, on real data, in under a minute.

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
from statistics import median
from typing import Any

import vecdb
from vecdb import models
from vecdb.database import VecDB
from vecdb.demo_report import Load, Method, Mode, Reached, Reopen, Report
from vecdb.errors import AlreadyExistsError
from vecdb.example_data import NAME, Data, Floats, load_data
from vecdb.storage import layout
from vecdb.terminal import Screen, duration, size
from vecdb.warmup import Warmup, compile_kernels

COLLECTION = NAME
LIMIT = 10
_SAME = 1e-6  # two scores that differ by less are rounded differently, no more
_BATCH = 250
# The default would leave 7.7 MB without index and codes, since an exact scan of so little is fast.
_SMALL = models.OptimizersConfigDiff(indexing_threshold=1000)

RECALLS = (0.9, 0.97, 0.99, 0.998)  # asked for; 0.97 is the default
_CODES_ALONE = models.SearchParams(quantization=models.QuantizationSearchParams(rescore=False))

# Method -> configuration, what it does, and the package whose text is the query shown.
METHODS: dict[str, tuple[dict[str, Any], str, str]] = {
    "binary": ({"binary": {}}, "one bit a dimension", "amispammer"),
    "product": (
        {"product": {"compression": "x16"}},
        "two dimensions in four bits, a number of a codebook",
        "songwrite",
    ),
    "scalar": ({"scalar": {"type": "int8"}}, "one byte a dimension", "cherrytree"),
}
# Mode -> memmap_threshold (kilobytes of vectors; 0: never), always_ram.
MODES = {
    "all in RAM": (0, True),
    "originals on disk, codes in RAM": (1000, True),
    "all on disk": (1000, False),
}

Answers = list[list[tuple[Any, float]]]  # a query's ids and scores, best first


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
            kernels = _compile(screen)
            load = _load(db, data, screen)
            index = _index(db, data, screen)
            methods = _quantize(db, data, screen)
            modes = _store(db, data, screen)
            before = _answers(db, data.queries)[0]
            closing = time.monotonic()
        closed = time.monotonic() - closing
        reopen = _reopen(path, data, before, closed, screen)
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
    """Of anybody, an earlier demo's too: not even opening it is the demo's business."""
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


# -- the steps ---------------------------------------------------------------------------------


def _compile(screen: Screen) -> Warmup:
    _heading(screen, "Compile the search kernels, once per machine")
    screen.line("   About ten seconds the first time; later starts read them from a cache.")
    with screen.bar("compiling") as bar:
        kernels = compile_kernels(bar.at)
    screen.line(f"   {kernels.describe()}")
    return kernels


def _load(db: VecDB, data: Data, screen: Screen) -> Load:
    _heading(screen, "Load: vectors and JSON payloads")
    db.create_collection(
        COLLECTION,
        vectors_config=models.VectorParams(
            size=data.vectors.shape[1], distance=models.Distance.COSINE
        ),
        optimizers_config=_SMALL,
    )
    total = len(data.vectors)
    started = time.monotonic()
    with screen.bar("loading", total) as bar:
        for start in range(0, total, _BATCH):
            rows = range(start, min(start + _BATCH, total))
            db.upsert(
                COLLECTION,
                models.Batch(
                    ids=list(rows),
                    vectors=data.vectors[rows.start : rows.stop],
                    payloads=data.payload[rows.start : rows.stop],
                ),
            )
            bar.at(rows.stop)
    seconds = time.monotonic() - started
    screen.paragraph(
        f"{total:,} points in {duration(seconds)}; every batch of {_BATCH} was safe from power "
        "loss when its upsert returned.",
        "   ",
    )
    screen.line()
    hits = _show(db, data, "tcptraceroute", screen)
    python = models.Filter(
        must=[models.FieldCondition(key="section", match=models.MatchValue(value="python"))]
    )
    filtered = _show(db, data, "tcptraceroute", screen, python, " where section = python")
    return Load(points=total, seconds=seconds, hits=hits, filtered_hits=filtered)


def _index(db: VecDB, data: Data, screen: Screen) -> list[Reached]:
    _heading(screen, "Index: a search says how much it wants to find")
    started = time.monotonic()
    db.flush(COLLECTION)  # a last batch would stay in memory, too small to be worth an index
    _wait(db, "indexing", screen)
    built = time.monotonic() - started
    screen.paragraph(
        f"Built in the background; {duration(built)} to wait for it. Near vectors stand together, "
        "and what has to be looked at for which share of the true neighbours was measured on the "
        "way. Other queries, 10 results each:",
        "   ",
    )
    screen.line()
    reached = []
    for recall in (None, *RECALLS):
        params = models.SearchParams(recall=recall, exact=recall is None)
        answers, seconds = _answers(db, data.queries, params)
        reached.append(
            Reached(
                asked=recall,
                recall_at_10=_recall(data, answers),
                median_rows=_rows_looked_at(db, data.queries, params),
                median_seconds=seconds,
            )
        )
    screen.table(
        ["recall asked for", "recall@10", "rows looked at", "query"],
        [
            [
                "all (exact)" if step.asked is None else f"{step.asked:g}",
                _share(step.recall_at_10),
                f"{step.median_rows:,}",
                duration(step.median_seconds),
            ]
            for step in reached
        ],
        indent="   ",
    )
    return reached


def _quantize(db: VecDB, data: Data, screen: Screen) -> list[Method]:
    _heading(screen, "Quantize: search small codes, then rank the best by their originals")
    screen.paragraph(
        "One call each, update_collection(quantization_config=…); the optimizer builds the codes "
        "in the background while searches go on. They can stand in memory in the originals' place; "
        "with an index a search reads few of either.",
        "   ",
    )
    originals = data.vectors.nbytes
    exact, seconds = _answers(db, data.queries, models.SearchParams(exact=True))
    methods = [
        Method(
            method="none (exact)",
            recall_at_10=_recall(data, exact),
            recall_at_10_codes_alone=None,
            median_seconds=seconds,
            vector_bytes=originals,
            codebook_bytes=0,
            compression=1.0,
        )
    ]
    for name, (config, what, package) in METHODS.items():
        started = time.monotonic()
        db.update_collection(COLLECTION, quantization_config=config)
        _wait(db, f"building {name} codes", screen)
        built = time.monotonic() - started
        screen.line()
        screen.line(f"   {screen.bold(name)}: {what}; built in {duration(built)}")
        hits = _show(db, data, package, screen)
        found, seconds = _answers(db, data.queries)
        alone, _ = _answers(db, data.queries, _CODES_ALONE)
        parts = db.memory_report(COLLECTION)["parts"]
        codes = parts["codes"]["file"]
        methods.append(
            Method(
                method=name,
                recall_at_10=_recall(data, found),
                recall_at_10_codes_alone=_recall(data, alone),
                median_seconds=seconds,
                vector_bytes=codes,
                codebook_bytes=parts["quantizers"]["file"],
                compression=originals / codes,
                build_seconds=built,
                hits=hits,
            )
        )
    screen.line()
    screen.table(
        ["method", "recall@10", "codes alone", "query", "codes", "compression"],
        [
            [
                method.method,
                _share(method.recall_at_10),
                _share(method.recall_at_10_codes_alone),
                duration(method.median_seconds),
                size(method.vector_bytes),
                f"{method.compression:.1f}x",
            ]
            for method in methods
        ],
        indent="   ",
    )
    screen.line()
    codebook = max(method.codebook_bytes for method in methods)
    screen.paragraph(
        "Codes alone: without the last step. Product codes need a codebook too, "
        f"{size(codebook)} for any number of vectors. So few vectors fit into the processor's "
        "cache, where an exact scan is fast; with more, its time grows with them.",
        "   ",
    )
    return methods


def _store(db: VecDB, data: Data, screen: Screen) -> list[Mode]:
    _heading(screen, "Store: you decide what is in memory, and see it")
    screen.paragraph(
        "Scalar codes in the three storage modes; a change re-opens files and rewrites none. "
        "Private is the process's own memory; resident is what the kernel's cache holds of the "
        "mapped files just now, and may drop. Whole collection, after all queries.",
        "   ",
    )
    screen.line()
    modes = []
    for name, (threshold, always_ram) in MODES.items():
        started = time.monotonic()
        db.update_collection(
            COLLECTION,
            optimizers_config={"memmap_threshold": threshold},
            quantization_config={"scalar": {"type": "int8", "always_ram": always_ram}},
        )
        _wait(db, name, screen)
        switched = time.monotonic() - started
        _, seconds = _answers(db, data.queries)
        report = db.memory_report(COLLECTION)
        modes.append(
            Mode(
                mode=name,
                memmap_threshold=threshold,
                always_ram=always_ram,
                originals=_placement(report["parts"]["originals"]),
                codes=_placement(report["parts"]["codes"]),
                **report["total"],
                median_seconds=seconds,
                switch_seconds=switched,
            )
        )
    screen.table(
        ["mode", "private", "mapped", "resident", "on disk", "query"],
        [
            [
                mode.mode,
                size(mode.anonymous),
                size(mode.mapped),
                size(mode.resident),
                size(mode.file),
                duration(mode.median_seconds),
            ]
            for mode in modes
        ],
        indent="   ",
    )
    return modes


def _reopen(
    path: Path, data: Data, before: Answers, close_seconds: float, screen: Screen
) -> Reopen:
    _heading(screen, "Close, reopen, ask again")
    started = time.monotonic()
    with VecDB(path) as db:
        opened = time.monotonic() - started
        points = db.count(COLLECTION).count
        after, seconds = _answers(db, data.queries)
    same = sum(_same(a, b) for a, b in zip(before, after, strict=True))
    screen.line(
        f"   Opened in {duration(opened)}: {points:,} points, and "
        f"{same} of {len(after)} queries answered as before."
    )
    return Reopen(
        close_seconds=close_seconds,
        open_seconds=opened,
        points=points,
        queries=len(after),
        same_answers=same,
        median_seconds=seconds,
    )


# -- the parts of a step -----------------------------------------------------------------------


def _heading(screen: Screen, text: str) -> None:
    screen.line()
    screen.line(screen.bold(f"▸ {text}"))


def _wait(db: VecDB, label: str, screen: Screen) -> None:
    """Wait for the optimizer, and show how far it is."""
    with screen.bar(label) as bar:
        while not db.wait_for_optimizer(COLLECTION, timeout=0.05):
            progress = db.get_collection(COLLECTION).optimizer_progress
            if progress.rows_total:
                bar.at(progress.rows_done, progress.rows_total)


def _show(
    db: VecDB,
    data: Data,
    package: str,
    screen: Screen,
    condition: models.Filter | None = None,
    suffix: str = "",
) -> list[dict[str, Any]]:
    """The three best hits for the description of a package."""
    number, text = data.texts[package]
    found = db.search(COLLECTION, data.queries[number], query_filter=condition, limit=3)
    hits = []
    screen.line(f"   “{text}”{suffix}")
    for hit in found:
        payload = hit.payload or {}
        hits.append({"score": hit.score, **{key: payload[key] for key in ("name", "summary")}})
        screen.cut(f"     {hit.score:.3f}  {payload['name']}: {payload['summary']}")
    return hits


def _answers(
    db: VecDB, queries: Floats, params: models.SearchParams | None = None
) -> tuple[Answers, float]:
    """The answer to every query, and the median time of one."""
    answers: Answers = []
    times = []
    for query in queries:
        started = time.perf_counter()
        found = db.search(COLLECTION, query, search_params=params, limit=LIMIT, with_payload=False)
        times.append(time.perf_counter() - started)
        answers.append([(hit.id, hit.score) for hit in found])
    return answers, median(times)


def _recall(data: Data, answers: Answers) -> float:
    return data.recall([[row for row, _ in answer] for answer in answers], LIMIT)


def _rows_looked_at(db: VecDB, queries: Floats, params: models.SearchParams) -> int:
    """In the median, how many rows the first step of a search scores."""
    rows = []
    for query in queries:
        found = db.query_points(COLLECTION, query, search_params=params, explain=True)
        rows.append(sum(part.stages[0].rows for part in found.explanation or ()))
    return int(median(rows))


def _share(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def _same(before: list[tuple[Any, float]], after: list[tuple[Any, float]]) -> bool:
    return [i for i, _ in before] == [i for i, _ in after] and all(
        abs(a - b) <= _SAME for (_, a), (_, b) in zip(before, after, strict=True)
    )


def _placement(part: dict[str, int]) -> str:
    return "anonymous" if part["anonymous"] else "mapped"

"""The steps of the demo: each shows one thing, and returns its figures."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from vecdb import models
from vecdb.cli.demo.example_data import Data
from vecdb.cli.demo.measures import (
    COLLECTION,
    Answers,
    answers_to,
    recall_of,
    rows_looked_at,
    same_answer,
)
from vecdb.cli.demo.report import Load, Method, Mode, Reached, Reopen
from vecdb.cli.terminal import Screen, duration, size
from vecdb.cli.warmup import Warmup, load_kernels
from vecdb.database import VecDB
from vecdb.kernels import at_hand

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


def warm_up(screen: Screen) -> Warmup:
    """Load the kernels, so that no figure has a compiler in it."""
    if at_hand():
        _heading(screen, "Load the search kernels")
    else:
        _heading(screen, "Compile the search kernels, once per machine")
        screen.line("   A minute or two the first time; later starts read them from a cache.")
    with screen.bar("loading") as bar:
        kernels = load_kernels(bar.at)
    screen.line(f"   {kernels.describe()}")
    return kernels


def load(db: VecDB, data: Data, screen: Screen) -> Load:
    """Write the points; a search without and with a filter."""
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


def index(db: VecDB, data: Data, screen: Screen) -> list[Reached]:
    """Build the index; searches that ask for more and more recall."""
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
        answers, seconds = answers_to(db, data.queries, params)
        reached.append(
            Reached(
                asked=recall,
                recall_at_10=recall_of(data, answers),
                median_rows=rows_looked_at(db, data.queries, params),
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


def quantize(db: VecDB, data: Data, screen: Screen) -> list[Method]:
    """Each quantization method in turn."""
    _heading(screen, "Quantize: search small codes, then rank the best by their originals")
    screen.paragraph(
        "One call each, update_collection(quantization_config=…); the optimizer builds the codes "
        "in the background while searches go on. They can stand in memory in the originals' place; "
        "with an index a search reads few of either.",
        "   ",
    )
    originals = data.vectors.nbytes
    exact, seconds = answers_to(db, data.queries, models.SearchParams(exact=True))
    methods = [
        Method(
            method="none (exact)",
            recall_at_10=recall_of(data, exact),
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
        answers, seconds = answers_to(db, data.queries)
        alone, _ = answers_to(db, data.queries, _CODES_ALONE)
        parts = db.memory_report(COLLECTION)["parts"]
        codes = parts["codes"]["file"]
        methods.append(
            Method(
                method=name,
                recall_at_10=recall_of(data, answers),
                recall_at_10_codes_alone=recall_of(data, alone),
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


def store(db: VecDB, data: Data, screen: Screen) -> list[Mode]:
    """Each storage mode in turn."""
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
        _, seconds = answers_to(db, data.queries)
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


def reopen(path: Path, data: Data, before: Answers, close_seconds: float, screen: Screen) -> Reopen:
    """Open again what is closed, and ask the same queries."""
    _heading(screen, "Close, reopen, ask again")
    started = time.monotonic()
    with VecDB(path) as db:
        opened = time.monotonic() - started
        points = db.count(COLLECTION).count
        after, seconds = answers_to(db, data.queries)
    same = sum(same_answer(a, b) for a, b in zip(before, after, strict=True))
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
    points = db.search(COLLECTION, data.queries[number], query_filter=condition, limit=3)
    hits = []
    screen.line(f"   “{text}”{suffix}")
    for point in points:
        payload = point.payload or {}
        hits.append({"score": point.score, **{key: payload[key] for key in ("name", "summary")}})
        screen.cut(f"     {point.score:.3f}  {payload['name']}: {payload['summary']}")
    return hits


def _share(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def _placement(part: dict[str, int]) -> str:
    return "anonymous" if part["anonymous"] else "mapped"

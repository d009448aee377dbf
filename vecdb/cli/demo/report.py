"""The figures of ``vecdb demo``: what ``--json`` prints. Times are seconds, sizes bytes."""

from __future__ import annotations

from typing import Any

from msgspec import Struct, field

from vecdb.cli.warmup import Warmup


class Load(Struct, kw_only=True):
    """Writing the points, and the hits shown, without and with a filter."""

    points: int
    seconds: float
    hits: list[dict[str, Any]]
    filtered_hits: list[dict[str, Any]]


class Reached(Struct, kw_only=True):
    """Searches by the index that ask for a recall; None: an exact scan."""

    asked: float | None
    recall_at_10: float
    median_rows: int
    """How many rows the first step of a search scores, by their sketches if there is an index."""
    median_seconds: float


class Method(Struct, kw_only=True):
    """One quantization method, or none."""

    method: str
    recall_at_10: float
    """As a search does by default: the best rows by their codes, ranked by their originals."""
    recall_at_10_codes_alone: float | None
    """Without the last step, ``rescore=False``."""
    median_seconds: float
    vector_bytes: int
    """The codes, or the originals if there are none."""
    codebook_bytes: int
    compression: float
    build_seconds: float = 0.0
    hits: list[dict[str, Any]] = field(default_factory=list)


class Mode(Struct, kw_only=True):
    """One storage mode: bytes of the whole collection, after all queries have run."""

    mode: str
    memmap_threshold: int
    always_ram: bool
    anonymous: int
    mapped: int
    resident: int
    file: int
    median_seconds: float
    switch_seconds: float
    originals: str
    codes: str


class Reopen(Struct, kw_only=True):
    """Closing and opening again, and how many queries are answered as before."""

    close_seconds: float
    open_seconds: float
    points: int
    queries: int
    same_answers: int
    median_seconds: float


class Report(Struct, kw_only=True):
    """Every figure of the demo: what ``--json`` prints."""

    version: str
    python: str
    machine: str
    cpus: int
    rows: int
    dimensions: int
    queries: int
    kernels: Warmup
    load: Load
    index: list[Reached]
    methods: list[Method]
    storage_modes: list[Mode]
    reopen: Reopen
    database: str | None
    seconds: float

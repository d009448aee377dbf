"""Registering bugs of the protocol, and the bugs that several of them are."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from proofs.mutants import Mutant, put
from vecdb.storage import catalog, fs, layout

MUTANTS: dict[str, Mutant[tuple[str, ...]]] = {}
"""Each with the workloads every one of which must catch it."""


def caught_by(*workloads: str) -> Callable[[Callable[[], None]], Callable[[], None]]:
    """Register a mutant."""

    def register(plant: Callable[[], None]) -> Callable[[], None]:
        MUTANTS[plant.__name__] = Mutant(plant, workloads)
        return plant

    return register


def without_dir_sync(skip: Callable[[Path], bool]) -> None:
    real = fs.sync_dir

    def sync_dir(path: Path) -> None:
        if not skip(path):
            real(path)

    put(fs, "sync_dir", sync_dir)


def without_file_sync(skip: Callable[[Path], bool]) -> None:
    real = fs.AppendFile.sync

    def sync(self: fs.AppendFile) -> None:
        if not skip(self.path):
            real(self)

    put(fs.AppendFile, "sync", sync)


def remove_segments(open_catalog: catalog.Catalog, segment_ids: list[int]) -> None:
    segments = open_catalog.path.parent.parent / layout.SEGMENTS
    for segment_id in segment_ids:
        fs.remove_tree(segments / layout.segment_dir(segment_id))

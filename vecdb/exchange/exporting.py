"""Exporting a collection to a file: gather, write, give the file its name."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct

from vecdb import models
from vecdb.collection import Collection
from vecdb.errors import AlreadyExistsError, InvalidInputError, NotFoundError
from vecdb.exchange import beside
from vecdb.exchange.columns import config_with, dims_of
from vecdb.exchange.formats import Format, format_of
from vecdb.exchange.parts import SUFFIX, Parts, Request, locked
from vecdb.exchange.progress import Progress, ticking
from vecdb.storage import fs
from vecdb.vectors.datatypes import is_ragged


class ExportReport(Struct):
    """What an export wrote."""

    path: str
    format: str
    points: int
    left_out: int
    """Points without the vector, of a format in which each has one."""
    bytes: int
    """Of the file, without those beside it."""


def export_collection(
    collection: Collection,
    path: str | os.PathLike[str],
    format: str | None = None,
    *,
    vectors: Sequence[str] | str | None = None,
    scroll_filter: models.FilterInput | None = None,
    with_payload: bool = True,
    resume: bool = False,
    overwrite: bool = False,
    progress: Progress = False,
) -> ExportReport:
    """Write the points of a collection to a file, with its configuration.

    ``format``: ``jsonl``, ``parquet``, ``npy``, ``fvecs``, ``fbin``, ``hdf5`` or ``safetensors``;
    None: what the name of the file ends in. ``npy``, ``fvecs``, ``fbin`` and ``hdf5`` hold the
    vectors of one name, which are all of one length: points that lack it are left out.
    ``vectors``: the names of those that are wanted, ``""`` for the unnamed one. ``scroll_filter``:
    only the points that match.

    Points are gathered in a directory beside the file, ``<path>.exporting``, of which the file is
    then made: for a while there must be room for both. The file appears when it is whole.
    ``resume`` goes on with an export that was interrupted, unless the collection was written to
    since it began; ``overwrite`` begins anew, and replaces the file. Points that are written while
    this runs may be in it or not: a collection opened with ``read_only=True`` stays as it is.

    Raises AlreadyExistsError, InvalidInputError (also if it cannot go on),
    NotFoundError (no vector of that name), LockedError (another process is at it),
    StorageFullError.
    """
    target = Path(path).absolute()
    kind = format_of(target, format, to_write=True)
    wanted = (
        None
        if scroll_filter is None
        else models.coerce(models.Filter, scroll_filter, "scroll_filter")
    )
    request = _request(collection, kind, vectors, wanted, with_payload)
    directory = target.with_name(target.name + SUFFIX)
    goes_on = resume and directory.exists()  # then the file, if it is there, is of that export
    if target.exists() and not overwrite and not goes_on:
        raise AlreadyExistsError(f"{target} exists; overwrite=True replaces it")
    if not target.parent.is_dir():
        raise InvalidInputError(f"{target}: the directory {target.parent} does not exist")
    if directory.exists() and not resume and not overwrite:
        raise AlreadyExistsError(
            f"{directory}: an export was interrupted here; resume=True goes on with it, "
            f"overwrite=True starts anew"
        )
    with fs.raising_storage_full(target):
        lock = locked(directory)  # before anything in it is looked at: another may be at work
        try:
            parts = (Parts.resume if resume else Parts.begin)(directory, request)
            points = _export(collection, target, kind, parts, progress)
        finally:
            lock.release()
    left_out = collection.count(wanted).count - points if kind.one_vector else 0
    return ExportReport(str(target), kind.name, points, max(0, left_out), target.stat().st_size)


def _export(
    collection: Collection, target: Path, kind: Format, parts: Parts, progress: Progress
) -> int:
    """Gather, write and give names; how many points there are."""
    with ticking(progress, "read", collection.count(parts.request.filter).count) as tick:
        tick(parts.count)
        parts.gather(collection, tick)
    finished = parts.finished()
    with ticking(progress, "written", parts.count) as tick:
        kind.write(parts, finished / target.name, tick)
    # Where the file is, all that is beside it is of this export: it goes first and comes last.
    for old in (target, *beside.files(target)):
        fs.remove_file(old)
    for made in sorted(finished.iterdir(), key=lambda path: path.name == target.name):
        fs.rename(made, target.with_name(made.name))
    fs.sync_dir(target.parent)
    parts.remove()
    return parts.count


def _request(
    collection: Collection,
    kind: Format,
    vectors: Any,
    scroll_filter: models.Filter | None,
    with_payload: bool,
) -> Request:
    """The arguments checked, before anything is written."""
    info = collection.info()
    names = _names(collection, info.config, kind, vectors)
    conditions: list[Any] = [] if scroll_filter is None else [scroll_filter]
    if kind.one_vector:
        conditions.append(models.HasVectorCondition(has_vector=names[0]))
    wanted = msgspec.to_builtins(models.Filter(must=conditions)) if conditions else None
    config = config_with(info.config, names)
    return Request(collection.name, kind.name, config, wanted, with_payload, info.last_operation_id)


def _names(
    collection: Collection, config: models.CollectionConfig, kind: Format, vectors: Any
) -> list[str]:
    known = dims_of(config)
    if vectors is None:
        names = list(known)
    else:
        names = [vectors] if isinstance(vectors, str) else list(vectors)
    for name in names:
        if name not in known:
            raise NotFoundError(
                f"vectors: there is no vector {name!r} in {collection.name!r}; there are: "
                f"{', '.join(map(repr, known)) or 'none'}"
            )
    dense = [name for name, dim in known.items() if not is_ragged(dim)]
    if kind.one_vector and (len(names) != 1 or names[0] not in dense):
        came = f", got {names[0]!r}" if len(names) == 1 else ""
        raise InvalidInputError(
            f"vectors: {kind.name} holds the vectors of one name, which are all of one length; "
            f"choose one of {', '.join(map(repr, dense)) or 'none'}{came}"
        )
    return names

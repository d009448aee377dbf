"""Importing a file into a collection: look at all that its head says, then batch by batch."""

from __future__ import annotations

import os
from pathlib import Path

from msgspec import Struct

from vecdb import models
from vecdb.collection import Collection
from vecdb.database import VecDB
from vecdb.errors import InvalidInputError
from vecdb.exchange.columns import Columns, Source, dims_of, vector_params
from vecdb.exchange.creating import create_like
from vecdb.exchange.formats import open_source
from vecdb.exchange.progress import Progress, ticking
from vecdb.vectors.datatypes import SPARSE, is_multi, size_of


class ImportReport(Struct):
    """What an import did."""

    path: str
    collection: str
    points: int
    """That were read."""
    skipped: int
    """Of those, how many were there already when an import was resumed."""
    replaced: int
    """Of those, how many took the place of a point of that id, of the collection or of this file:
    by how much less the collection grew, which nobody else should write to meanwhile."""


def import_collection(
    db: VecDB,
    collection_name: str,
    path: str | os.PathLike[str],
    format: str | None = None,
    *,
    distance: models.Distance | str | None = None,
    using: str | None = None,
    batch_size: int = 1000,
    resume: bool = False,
    progress: Progress = False,
) -> ImportReport:
    """Write the points of a file into a collection, which is made if it does not exist.

    ``format`` as in ``export_collection``; files of other programs are read, too. A new collection
    has the configuration and payload indexes of the one that was exported; of another program's
    file it has a vector of each array, and ``distance`` says how they compare. ``using``: the
    vector name that the vectors of a file with one array are for. Points of a file without ids have
    the numbers of its rows.

    A point that exists is replaced. ``resume`` goes on with an import that was interrupted: points
    that exist stay as they are. Any numbers are taken: float64, float16, integers, of any order of
    bytes.

    Raises NotFoundError (no such file), InvalidInputError (also for a ``distance`` that is another
    than the collection or the file has). What the head of a file says is checked before anything
    is written; at what is wrong further on, the batches before it stay.
    """
    file = Path(path)
    source = open_source(file, format)
    wanted = None if distance is None else models.coerce(models.Distance, distance, "distance")
    is_new = not db.collection_exists(collection_name)
    names = _names(db, collection_name, source, using, file)
    if is_new:
        config = source.config or _config(source, wanted, names, file)
        _check(config, "the collection that was exported", source, names, wanted, using, file)
        create_like(db, collection_name, config)
    else:
        config = db.get_collection(collection_name).config
        _check(config, repr(collection_name), source, names, wanted, using, file)
    collection = db.collection(collection_name)
    try:
        return _read(collection, source, names, file, batch_size, resume, progress)
    except InvalidInputError:
        if is_new and not len(collection):
            db.delete_collection(collection_name)
        raise


def _read(
    collection: Collection,
    source: Source,
    names: dict[str, str],
    file: Path,
    batch_size: int,
    resume: bool,
    progress: Progress,
) -> ImportReport:
    """Write all points of a file, batch by batch."""
    before = len(collection)
    done = skipped = 0
    with ticking(progress, "points", source.count) as tick:
        for columns in source.columns(batch_size):
            columns.vectors = {names[name]: block for name, block in columns.vectors.items()}
            try:
                skipped += _write(collection, columns, resume)
            except InvalidInputError as error:
                raise InvalidInputError(
                    f"{file}: points {done} to {done + len(columns) - 1}: {error}"
                ) from None
            done += len(columns)
            tick(len(columns))
    replaced = max(0, done - skipped - (len(collection) - before))
    return ImportReport(str(file), collection.name, done, skipped, replaced)


def _write(collection: Collection, columns: Columns, resume: bool) -> int:
    """Write a batch; how many of its points were there, if that is looked at."""
    if not resume:
        collection.upsert(columns.batch())
        return 0
    if len(collection.retrieve(columns.ids, with_payload=False)) == len(columns):
        return len(columns)
    before = len(collection)
    collection.upsert(columns.batch(), update_mode="insert_only")
    return len(columns) - (len(collection) - before)


def _names(
    db: VecDB, collection_name: str, source: Source, using: str | None, file: Path
) -> dict[str, str]:
    """Under which name of the collection the vectors of each name of the file go."""
    if using is None:
        if len(source.dims) == 1 and db.collection_exists(collection_name):
            known = dims_of(db.get_collection(collection_name).config)
            if len(known) == 1:  # there is no doubt which is meant
                return dict(zip(source.dims, known, strict=True))
        return {name: name for name in source.dims}
    if len(source.dims) != 1:
        raise InvalidInputError(
            f"using: {file} has vectors of several names: {', '.join(map(repr, source.dims))}"
        )
    return dict.fromkeys(source.dims, using)


def _config(
    source: Source, distance: models.Distance | None, names: dict[str, str], file: Path
) -> models.CollectionConfig:
    """The configuration of a collection for another program's file."""
    dense = {names[name]: dim for name, dim in source.dims.items() if dim != SPARSE}
    if distance is None and dense:
        raise InvalidInputError(
            f"distance: {file} does not say how its vectors compare; expected one of "
            f"{', '.join(each.value for each in models.Distance)}"
        )
    params = {
        name: models.coerce(
            models.VectorParams,
            {
                "size": size_of(dim),
                "distance": distance,
                "multivector_config": {"comparator": "max_sim"} if is_multi(dim) else None,
            },
            f"vectors[{name!r}]",
        )
        for name, dim in dense.items()
    }
    vectors = params[""] if list(params) == [""] else params
    sparse = {names[n]: models.SparseVectorParams() for n in source.dims if names[n] not in dense}
    return models.CollectionConfig(
        params=models.CollectionParams(vectors=vectors, sparse_vectors=sparse or None)
    )


def _check(
    config: models.CollectionConfig,
    whose: str,
    source: Source,
    names: dict[str, str],
    distance: models.Distance | None,
    using: str | None,
    file: Path,
) -> None:
    """Raise InvalidInputError unless a collection of this configuration takes the vectors, and
    compares them as was asked for."""
    known, distances = dims_of(config), vector_params(config)
    for name, dim in source.dims.items():
        into = names[name]
        if into not in known:
            there = ", ".join(map(repr, known)) or "none"
            if using is not None:
                raise InvalidInputError(f"using: there is no vector {using!r}; {whose} has {there}")
            raise InvalidInputError(f"{file}: has vectors {name!r}, and {whose} has {there}")
        if known[into] != dim:
            raise InvalidInputError(
                f"{file}: expected {_kind(known[into])}, as {whose} has, got {_kind(dim)}"
            )
        if distance is not None and dim != SPARSE and distance is not distances[into].distance:
            called = f" for {into!r}" if into else ""
            raise InvalidInputError(
                f"distance: {whose} has {distances[into].distance.value!r}{called}, got "
                f"{distance.value!r}"
            )


def _kind(dim: int) -> str:
    if dim == SPARSE:
        return "sparse vectors"
    return f"{'multi' if is_multi(dim) else ''}vectors of {size_of(dim)} numbers"

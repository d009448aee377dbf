"""Places: where collections stand, and how one gets there and goes; each is one rename.

What there is of a collection ``c`` is told by names alone:

    c                            it stands in its place
    .restored-c                  a restored one waits for the place: it is the collection, and what
                                 stands in c is only in the way (``current_dir``)
    .restored-c with WITHDRAWN   no collection: its restore took it back; the next open removes it
    none of these                there is none

    .new-…       becomes c            created: whole and durable before it has the name
    .restored-c  becomes c            takes its place
    c            becomes .dropped-…   dropped, or replaced; then its files are removed

What a crash leaves under ``.new-…`` and ``.dropped-…`` the next open removes.
"""

from __future__ import annotations

import uuid as uuids
from contextlib import suppress
from pathlib import Path

from vecdb import models
from vecdb.errors import CorruptionError, FormatVersionError
from vecdb.storage import fs, layout, lookup
from vecdb.storage.catalog import Catalog
from vecdb.storage.format import MAX_FORMAT_LINE, VERSION, DamageError
from vecdb.storage.format_line import pack_format_line, unpack_format_line
from vecdb.storage.wal import Wal


def write_format(path: Path, **fields: str) -> str:
    """Write and sync the FORMAT file of a new database or collection; its uuid."""
    fields = {"uuid": uuids.uuid4().hex, **fields}
    fs.write_file(path, pack_format_line({"format": VERSION, **fields}))
    return fields["uuid"]


def read_format(directory: Path) -> dict[str, str]:
    """The fields of a FORMAT file. Raises CorruptionError, FormatVersionError."""
    path = directory / layout.FORMAT
    try:
        with fs.must_exist(path), lookup.open_read(path) as file:
            return unpack_format_line(file.read(MAX_FORMAT_LINE + 1))
    except DamageError as error:
        raise CorruptionError(path, str(error)) from None
    except FormatVersionError as error:
        raise FormatVersionError(f"{path}: {error}") from None


def create_collection(parent: Path, name: str, config: models.CollectionConfig) -> Path:
    """A new, empty collection, there wholly or not at all. Returns its directory.

    It is made under a temporary name and renamed when all of it is durable. An earlier call that
    failed to open what it had made, and could not take it back, may have left something under its
    name or waiting for its place: that is removed.
    """
    temporary = parent / layout.new_dir()
    path = parent / layout.escape(name)
    if exists(path):
        drop_collection(path)
    try:
        fs.make_dir(temporary)
        uuid = write_format(temporary / layout.FORMAT, name=name.encode("utf-8").hex())
        Catalog.create(temporary / layout.CATALOG, models.to_builtins(config), uuid)
        fs.make_dir(temporary / layout.WAL)
        wal = Wal(temporary / layout.WAL, bytes.fromhex(uuid), "always")
        try:
            wal.start_file(1)  # there always is one: a log without a file is damaged
        finally:
            wal.close()
        fs.make_dir(temporary / layout.SEGMENTS)
        fs.sync_dir(temporary)
    except BaseException:
        fs.remove_tree(temporary)
        raise
    try:
        fs.rename(temporary, path)
        fs.sync_dir(parent)
    except BaseException:
        if not lookup.exists(path):
            fs.remove_tree(temporary)
            raise
        # Power loss may bring its name back; the collection must then be whole and empty. The next
        # open removes it, when it has synced the names.
        with suppress(OSError):
            fs.rename(path, temporary)
        raise
    return path


def drop_collection(path: Path) -> None:
    """Remove a collection: one rename, then file by file. This includes one that failed to take its
    place, and would take it at the next open."""
    for directory in (path, path.with_name(layout.restored_dir(path.name))):
        if lookup.is_dir(directory):
            _drop(directory)


def _drop(directory: Path) -> None:
    dropped = directory.with_name(layout.dropped_dir())
    with fs.ready_to_sync(directory.parent):
        fs.rename(directory, dropped)
        fs.sync_dir(directory.parent)
    fs.discard(dropped)


def collection_dirs(parent: Path) -> list[Path]:
    """The places of all collections, sorted. A restored one may not have got to its place yet:
    ``current_dir`` tells where it is."""
    with fs.must_exist(parent, "directory"):
        # Twice: one look at a long list takes several calls, and a collection that a restore
        # renames between two of them might be under neither of its names.
        names = {*lookup.names(parent), *lookup.names(parent)}
    places = {layout.parse_restored_dir(name) or name for name in names}
    paths = [parent / place for place in sorted(places) if layout.may_be_place(place)]
    return [path for path in paths if exists(path)]


def current_dir(place: Path) -> Path:
    """The directory of the collection of a place: under its ``.restored-`` name until it gets
    there. What stands in the place itself is then no longer the collection."""
    restored = place.with_name(layout.restored_dir(place.name))
    return restored if is_committed(restored) else place


def is_committed(restored: Path) -> bool:
    """Whether there is something under a ``.restored-`` name that takes its place. A withdrawn one
    does not. One whose FORMAT is lost is damaged; that is no reason to remove it."""
    return lookup.is_dir(restored) and not lookup.exists(restored / layout.WITHDRAWN)


def exists(place: Path) -> bool:
    """Whether a collection has this place. A restore may be moving it from one name to the other
    between two questions, so the first is asked again."""
    restored = place.with_name(layout.restored_dir(place.name))
    return lookup.is_dir(place) or is_committed(restored) or lookup.is_dir(place)


def finish_restores(parent: Path) -> None:
    """Let every collection that was restored take its place, and remove what a crash left.

    A restored collection is whole and durable under its ``.restored-`` name, and that name is the
    commit: from then on the old collection is only in the way.

    Names are synced first. A process killed between a rename and its sync left a name that power
    loss would take away, with all that is written below it from now on.
    """
    fs.sync_dir(parent)
    for path in lookup.entries(parent):
        if layout.parse_restored_dir(path.name) is not None:
            finish_or_withdraw(path)
    for path in lookup.entries(parent):
        if layout.is_leftover(path.name):
            fs.discard(path)


def finish_or_withdraw(restored: Path) -> None:
    """Let a restored collection of this name take its place, or remove it if it was withdrawn."""
    if is_committed(restored):
        _, dropped = take_place(restored)
        if dropped is not None:
            fs.discard(dropped)
    elif lookup.is_dir(restored):
        # Two things must be durable in turn: that it is withdrawn, while it has its name; and its
        # other name, before any file of it is gone. Else half a collection would take the place of
        # a whole one.
        fs.sync_dir(restored)
        _drop(restored)


def take_place(restored: Path) -> tuple[Path, Path | None]:
    """Give a restored collection its place. Returns its directory now, and the directory of the one
    that was there, which is no longer needed."""
    replaced = layout.parse_restored_dir(restored.name)
    assert replaced is not None
    path = restored.with_name(replaced)
    dropped: Path | None = None
    if lookup.exists(path):
        dropped = restored.with_name(layout.dropped_dir())
        fs.rename(path, dropped)
        fs.sync_dir(path.parent)
    fs.rename(restored, path)
    fs.sync_dir(path.parent)
    return path, dropped


def collection_name(path: Path) -> str:
    """The name of the collection in a directory. Raises CorruptionError."""
    try:
        return bytes.fromhex(read_format(path)["name"]).decode("utf-8")
    except (KeyError, ValueError):
        raise CorruptionError(path / layout.FORMAT, "has no valid collection name") from None


def require_own_name(place: Path, name: str) -> None:
    """Raise CorruptionError if another collection than that of this name stands in its place."""
    if place.name != layout.escape(name):
        raise CorruptionError(place, f"holds the collection {name!r}, not its own")


def name_of_place(place: Path) -> str:
    """The name of the collection that should be there, as well as can be told."""
    try:
        name = collection_name(current_dir(place))
        require_own_name(place, name)
        return name
    except (CorruptionError, FormatVersionError, OSError):
        return layout.unescape(place.name)

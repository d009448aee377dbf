"""OpenCollections: which collections of a database are open, and which are too damaged to be.

The database that writes opens what it finds, and from then on only its own changes count. One that
only reads follows what another process does: ``refresh``.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from copy import copy
from pathlib import Path
from typing import Any

from vecdb import models
from vecdb.engine.archive import restore
from vecdb.engine.archive.unpack import Unpacked
from vecdb.engine.budget import Budget
from vecdb.engine.open import database_dir, places, recovery
from vecdb.engine.open.follower import Follower, identity
from vecdb.engine.optimize.optimizer import Optimizer
from vecdb.engine.pins import settle
from vecdb.engine.signals import Uninterrupted
from vecdb.engine.store import Store
from vecdb.errors import (
    AlreadyExistsError,
    CorruptionError,
    FormatVersionError,
    NotFoundError,
    RefreshError,
    VecdbError,
    WriteError,
)
from vecdb.storage import fs, layout, lookup
from vecdb.storage.place import Place
from vecdb.storage.wal import LogLevel

_log = logging.getLogger("vecdb")

_TRIES = 100  # to read a collection that is made anew again and again


class OpenCollections:
    """The collections in the directory ``parent``.

    What changes them is called under the database's lock, which is taken before any lock of a
    store. Looking at them needs none.
    """

    def __init__(self, parent: Path, level: LogLevel, budget: Budget) -> None:
        self._parent = parent
        self._level = level
        self._budget = budget
        # It asks for the stores here, not the database: its thread would keep one that nobody else
        # can reach.
        self.optimizer = Optimizer(self.stores)
        self._open: dict[str, Store] = {}
        # By directory: where that does not tell the collection's name, any other might be taken
        # for it, and a new one of that name made in its place.
        self._damaged: dict[Path, tuple[str, VecdbError]] = {}
        self._seen: dict[Path, object] = {}  # the directory of each of these, when it was set aside
        self._followers: dict[Path, Follower] = {}
        self._database: Place | None = None  # the directory that was opened to be written to
        self._remains: set[Path] = set()  # places of which a failed call could not take all back

    # -- looking ---------------------------------------------------------------------------

    def stores(self) -> list[Store]:
        """Of those that are open."""
        return list(self._open.values())

    def names(self) -> set[str]:
        """Of all, open or damaged."""
        opened = list(self._open)  # at once: others may be opened meanwhile
        return {*opened, *self.damaged()}

    def damaged(self) -> dict[str, VecdbError]:
        """Those that are set aside, and why."""
        return dict(self._damaged.values())

    def __contains__(self, name: str) -> bool:
        """Whether there is one of this name, open or damaged."""
        return name in self._open or self._damaged_place(name) is not None

    def get(self, name: str) -> Store:
        """The open one. Raises NotFoundError, and for a damaged collection its error."""
        try:
            return self._open[name]
        except (KeyError, TypeError):
            name = database_dir.check_name(name)
            place = self._damaged_place(name)
            if place is not None:
                raise copy(self._damaged[place][1]) from None
            known = ", ".join(map(repr, sorted(self._open))) or "none"
            raise NotFoundError(f"collection {name!r} not found; there are: {known}") from None

    # -- writing ---------------------------------------------------------------------------

    def open_all(self, database: Place) -> None:
        """Open every collection there is in a database's directory, or set it aside."""
        self._database = database
        for path in places.collection_dirs(self._parent):
            try:
                self._open_one(path)
            except (CorruptionError, FormatVersionError) as error:
                self._set_aside(path, error)

    def create(self, name: str, config: models.CollectionConfig) -> None:
        """A new, empty one. Raises AlreadyExistsError, StorageFullError, and WriteError where it is
        known only at the next open whether it is there."""
        if name in self:
            raise AlreadyExistsError(f"collection {name!r} already exists")
        path = self._parent / layout.escape(name)
        self._require_own(path)
        # On disk and in the list, or in neither.
        with Uninterrupted(), fs.raising_storage_full(path), self._noting(path):
            places.create_collection(self._parent, name, config)
            try:
                self._open_one(path, new=True)
            except BaseException as error:
                try:
                    places.drop_collection(path)
                except OSError as left:
                    raise WriteError(
                        f"collection {name!r} could not be opened ({error}), nor taken back "
                        f"({left}); the next open may find it there, empty"
                    ) from error
                raise

    @contextmanager
    def _noting(self, path: Path) -> Iterator[None]:
        """Note what a block that fails leaves in a place: the next one may remove it, as nothing
        else that stands there."""
        try:
            yield
        except BaseException:
            if places.exists(path):
                self._remains.add(path)
            raise
        self._remains.discard(path)

    def delete(self, name: str) -> bool:
        """Remove one and its files; False if there was none."""
        place = self._damaged_place(name)
        if place is not None:
            self._require_own(place)
            self._drop(place, place, self._damaged)
            return True
        store = self._open.get(name)
        if store is None:
            return False
        self._require_own(store.path, store)
        recovery.close_store(store, keep=False)
        store.closed_because = "was deleted"
        self.optimizer.leave(store)
        self._drop(store.path, name, self._open)
        return True

    def replace(self, unpacked: Unpacked) -> None:
        """Let a restored collection take its place. Raises OSError before anything has changed;
        what goes wrong later is finished by the next open."""
        old = self._open.get(unpacked.name)
        path = self._parent / layout.escape(unpacked.name)
        if old is not None:
            old.require_outside()
        self._require_own(path, old)
        with Uninterrupted(), self._noting(path):
            try:
                restored = restore.commit(unpacked)
            except WriteError as error:
                if old is not None:
                    old.fail(str(error))
                raise
            try:
                if old is not None:
                    recovery.close_store(old, keep=False)
                    old.closed_because = "was replaced by a restored one"
                    self.optimizer.leave(old)  # and stays listed: closed is not unknown
                _, dropped = places.take_place(restored)
                self._open_one(path)
            except BaseException as error:
                self._open.pop(unpacked.name, None)
                self._set_aside(path, CorruptionError(path, f"restored, but not open: {error}"))
                raise
            self._damaged.pop(path, None)
        if dropped is not None:
            fs.discard(dropped)

    def _require_own(self, path: Path, store: Store | None = None) -> None:
        """Raise unless what stands in a collection's place, if anything does, is what this handle
        knows of: it is about to be removed. Raises PlaceTakenError for another than that of
        ``store``."""
        if not places.exists(path) or path in self._remains:
            return
        if store is not None and not store.closed:
            store.require_in_place()
        elif store is None and self._seen.get(path) != _directory_at(path):
            raise AlreadyExistsError(
                f"{path} was put there, or changed, while the database is open; close it and open "
                f"it again to use that"
            )

    def close(self, *, keep: bool) -> None:
        """Close every one whatever happens to another, then raise what came first. ``keep``: with
        a checkpoint. Whoever closes gives the database's lock back next, and another process may
        write: so one whose close was interrupted while it waited is closed all the same."""
        errors: list[BaseException | None] = []
        stores = self.stores()
        try:
            errors += [_error_of_close(store, keep=keep) for store in stores]
        finally:
            with Uninterrupted():
                left = [store for store in stores if not store.closed]
                errors += [_error_of_close(store, keep=False) for store in left]
        self._open.clear()  # a closed database may be kept for long, its collections for nothing
        self._followers.clear()
        for error in filter(None, errors):
            raise error

    # -- reading what another process writes -------------------------------------------------

    def refresh(self) -> bool:
        """Drop what is gone, move what is known, open what is new; whether anything changed. Raises
        RefreshError at the end, if some could not be read."""
        paths = places.collection_dirs(self._parent)
        changed = False
        failed: dict[Path, OSError] = {}
        for path, follower in list(self._followers.items()):
            try:
                is_gone = path not in paths or not follower.is_same()
            except OSError as error:
                failed[path] = error
                continue
            if is_gone:
                self._open.pop(follower.name, None)
                recovery.close_store(follower.store, keep=False)
                follower.store.closed_because = "was replaced" if path in paths else "was deleted"
                del self._followers[path]
                changed = True
        for path in [path for path in self._damaged if path not in paths]:
            del self._damaged[path]
            changed = True
        for path in paths:
            try:
                if path not in failed:
                    changed |= self._follow_or_set_aside(path)
            except OSError as error:  # of this one: the others move all the same
                failed[path] = error
        if failed:
            names = {places.name_of_place(path): error for path, error in failed.items()}
            raise RefreshError(names)
        return changed

    def refresh_one(self, name: str) -> bool | None:
        """The same for one collection. None: it is not there, or not the one that was; to look at
        all of them tells more. Raises RefreshError."""
        follower = self._followers.get(self._parent / layout.escape(name))
        try:
            if follower is None or not follower.is_same():
                return None
            return self._follow_or_set_aside(follower.path)
        except OSError as error:
            raise RefreshError({name: error}) from error

    def _follow_or_set_aside(self, path: Path) -> bool:
        """Whether anything changed. What was dropped meanwhile, and perhaps made again, is not
        damaged: an error counts if the collection is the one there was before it was read."""
        for _ in range(_TRIES):
            before = identity(path)
            try:
                changed = self._follow(path)
                self._damaged.pop(path, None)
                return changed
            except (CorruptionError, FormatVersionError) as error:
                if not places.exists(path):
                    return False
                if identity(path) == before:
                    self._set_aside(path, error)
                    return False
        return False  # the next refresh sees what has become of it

    def _follow(self, path: Path) -> bool:
        follower = self._followers.get(path)
        if follower is not None:
            changed = follower.refresh()
            if changed:
                settle(follower.store)
            return changed
        follower = Follower(path, self._budget)
        places.require_own_name(path, follower.name)
        # The follower last, as it is also forgotten last: the next refresh then makes up for a
        # Ctrl-C in between.
        self._open[follower.name] = follower.store
        self._followers[path] = follower
        settle(follower.store)
        return True

    # -- the parts -------------------------------------------------------------------------

    def _open_one(self, path: Path, *, new: bool = False) -> None:
        store = recovery.open_store(
            path, self._level, new=new, database=self._database, budget=self._budget
        )
        try:
            places.require_own_name(path, store.name)
        except CorruptionError:
            recovery.close_store(store, keep=False)
            raise
        store.changed = self.optimizer.wake
        self._open[store.name] = store
        settle(store)
        self.optimizer.wake()

    def _set_aside(self, path: Path, error: CorruptionError | FormatVersionError) -> None:
        name = places.name_of_place(path)
        if str(self._damaged.get(path, (name, None))[1]) != str(error):
            _log.warning("collection %r cannot be opened: %s", name, error)
        self._damaged[path] = (name, copy(error))  # without the frames, and what they hold
        self._seen[path] = _directory_at(path)

    def _damaged_place(self, name: str) -> Path | None:
        """Where the damaged collection of this name is, if there is one. Its directory's name will
        do: nothing but that is left of some."""
        places = (self._parent / layout.escape(name), self._parent / name)
        return next((place for place in places if place in self._damaged), None)

    def _drop(self, path: Path, key: Any, listed: dict[Any, Any]) -> None:
        with Uninterrupted():  # on disk and in the list, or in neither
            try:
                places.drop_collection(path)
            finally:
                # Though an error may say that this is not durable yet. One that waits to take the
                # place would do so at the next open.
                if not places.exists(path):
                    del listed[key]


def _error_of_close(store: Store, *, keep: bool) -> BaseException | None:
    """Close one; what went wrong, which must not keep others from being closed."""
    try:
        recovery.close_store(store, keep=keep)
    except BaseException as error:
        return error
    return None


def _directory_at(path: Path) -> object:
    """What tells the collection of a place from any other that comes there while nobody has it
    open. Inodes are given again, at another time."""
    try:
        found = lookup.status(places.current_dir(path))
    except OSError:
        return None
    return found.st_dev, found.st_ino, found.st_ctime_ns

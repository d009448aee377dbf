"""Aliases: other names of a database's collections, kept in one file that is replaced whole.

    .new-…    written and synced
    ALIASES   it gets this name, and that is synced: from then on the new set counts

What the file says of a collection that is not there does not count: a crash after the removal of a
collection leaves it. Whoever makes a collection of that name removes it first (``make_way``).
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from copy import copy
from pathlib import Path

from vecdb import models
from vecdb.engine.open.database_dir import check_name
from vecdb.engine.signals import Uninterrupted
from vecdb.errors import (
    AlreadyExistsError,
    CorruptionError,
    FormatVersionError,
    InvalidInputError,
    NotFoundError,
    ReadOnlyError,
    WriteError,
)
from vecdb.storage import fs, layout, lookup
from vecdb.storage.alias_file import MAX_ALIAS_FILE, MAX_ALIASES, pack_aliases, unpack_aliases
from vecdb.storage.format import DamageError

_log = logging.getLogger("vecdb")


class Aliases:
    """The aliases of the database in the directory ``root``. ``exists`` says whether there is a
    collection of a name.

    What changes them is called under the database's lock. Looking needs none: the set is replaced
    and never changed.
    """

    def __init__(self, root: Path, exists: Callable[[str], bool]) -> None:
        self._path = root / layout.ALIASES
        self._exists = exists
        self._stored: dict[str, str] = {}  # as in the file, also what does not count
        self._damage: CorruptionError | FormatVersionError | None = None
        self._failed: str | None = None  # why nothing may be written any more

    # -- looking ---------------------------------------------------------------------------

    def read(self) -> bool:
        """Read the file; whether anything changed. A damaged one is set aside."""
        before = self._stored, str(self._damage)
        try:
            self._stored, self._damage = read_aliases(self._path.parent), None
        except (CorruptionError, FormatVersionError) as error:
            if str(error) != str(self._damage):
                _log.warning("aliases cannot be read: %s", error)
            self._stored, self._damage = {}, copy(error)
        return before != (self._stored, str(self._damage))

    def clean(self) -> None:
        """Remove what a crash left of a set that was being written."""
        for path in lookup.entries(self._path.parent):
            if layout.is_leftover(path.name) and not lookup.is_dir(path):
                fs.discard(path)

    def meant(self, name: str) -> str:
        """The collection that a name means: what it is an alias of, or itself."""
        if not self._stored or not isinstance(name, str) or self._exists(name):
            return name
        return self._stored.get(name, name)

    def listed(self) -> dict[str, str]:
        """The collection's name by alias, sorted. Raises CorruptionError, FormatVersionError."""
        self.require_whole()
        return {alias: name for alias, name in sorted(self._stored.items()) if self._counts(alias)}

    def require_whole(self) -> None:
        """Raise unless it is known which aliases there are."""
        if self._damage is not None:
            raise copy(self._damage)

    def _counts(self, alias: str) -> bool:
        return self._exists(self._stored[alias]) and not self._exists(alias)

    # -- changing ----------------------------------------------------------------------------

    def change(self, operations: Sequence[models.AliasOperations]) -> None:
        """Do all of the operations in one step, or none of them. Raises NotFoundError,
        AlreadyExistsError, InvalidInputError, StorageFullError, WriteError."""
        aliases = self.listed()
        for operation in operations:
            if isinstance(operation, models.CreateAliasOperation):
                new = operation.create_alias
                aliases[self._free(new.alias_name)] = self._target(new.collection_name)
            elif isinstance(operation, models.DeleteAliasOperation):
                aliases.pop(operation.delete_alias.alias_name, None)
            else:
                old, free = operation.rename_alias.old_alias_name, operation.rename_alias
                if old not in aliases:
                    known = ", ".join(map(repr, aliases)) or "none"
                    raise NotFoundError(f"alias {old!r} not found; there are: {known}")
                aliases[self._free(free.new_alias_name)] = aliases.pop(old)
        if len(aliases) > MAX_ALIASES:
            raise InvalidInputError(f"expected at most {MAX_ALIASES} aliases, got {len(aliases)}")
        self._write(aliases)

    def _free(self, alias: str) -> str:
        if self._exists(check_name(alias, "alias_name")):
            raise AlreadyExistsError(f"alias {alias!r}: a collection of that name already exists")
        return alias

    def _target(self, name: str) -> str:
        if not self._exists(name):
            raise NotFoundError(f"collection {name!r} not found; an alias needs one")
        return name

    def make_way(self, name: str) -> None:
        """Let a collection of this name be made. Raises AlreadyExistsError if that is an alias."""
        if name in self.listed():
            raise AlreadyExistsError(
                f"collection {name!r}: an alias of that name already exists, of the collection "
                f"{self._stored[name]!r}"
            )
        self.forget(name)

    def forget(self, name: str) -> None:
        """Remove the aliases of a collection that is not there, and one of its name."""
        left = {a: c for a, c in self._stored.items() if name not in (a, c)}
        if left != self._stored:
            self._write(left)

    def _write(self, aliases: dict[str, str]) -> None:
        self.require_whole()
        if self._failed is not None:
            raise ReadOnlyError(
                f"aliases cannot be changed since a failure: {self._failed}; close the database "
                f"and open it again"
            )
        if aliases == self._stored:
            return
        with Uninterrupted(), fs.raising_storage_full(self._path):
            self._replace(pack_aliases(aliases))
            self._stored = aliases

    def _replace(self, data: bytes) -> None:
        directory = self._path.parent
        temporary = directory / layout.new_dir()
        try:
            fs.write_file(temporary, data)
            with fs.ready_to_sync(directory):
                self._publish(temporary)
        except BaseException:
            fs.discard(temporary)
            raise

    def _publish(self, temporary: Path) -> None:
        try:
            fs.rename(temporary, self._path)
            fs.sync_dir(self._path.parent)
        except BaseException as error:  # also what the handler of a signal raises, a time limit
            # The file may have its name or not, now and after a crash.
            self._failed = f"{self._path}: {error or type(error).__name__}"
            if not isinstance(error, OSError):
                raise
            raise WriteError(error.errno, self._failed) from error


def read_aliases(root: Path) -> dict[str, str]:
    """What the file of a database says; nothing, if there is none. Raises CorruptionError,
    FormatVersionError."""
    path = root / layout.ALIASES
    if not lookup.exists(path):
        return {}
    try:
        with fs.must_exist(path), lookup.open_read(path) as file:
            return unpack_aliases(file.read(MAX_ALIAS_FILE + 1))
    except DamageError as error:
        raise CorruptionError(
            path, f"{error}; without this file there are no aliases, and all else is whole"
        ) from None
    except FormatVersionError as error:
        raise FormatVersionError(f"{path}: {error}") from None


def write_aliases(root: Path, aliases: dict[str, str]) -> None:
    """Write the file of a database that is being made; its name is made durable by the caller."""
    fs.write_file(root / layout.ALIASES, pack_aliases(aliases))

"""Operations on snapshots: made, listed, sent, received.

All of a snapshot that comes in is verified before anything is replaced by it.
"""

from __future__ import annotations

import asyncio
import queue
import re
import shutil
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from vecdb import errors, models
from vecdb.server.answers import Accepted, Download
from vecdb.server.fetching import fetched, is_url
from vecdb.server.multipart import file_of
from vecdb.server.requests import Fields, check_new_name, whole
from vecdb.server.service import Service
from vecdb.server.status import (
    FORBIDDEN,
    MISMATCH,
    NOT_FOUND,
    WRONG,
    Refusal,
    malformed,
    out_of_range,
)
from vecdb.server.table import Call, Right, operation

RECOVER = Fields(
    *("priority", "checksum", "api_key", "wait"),
    required=("location",),
    aliases={"snapshot": "location"},
)
_PRIORITIES = ("no_sync", "snapshot", "replica")
_PIECES = 16
"""So many pieces of a body may wait to be written."""


def _check_shard(call: Call) -> None:
    """All of a collection is in shard 0."""
    if call.shard is not None and call.shard != "0":
        if whole(call.shard) is None:
            raise Refusal(WRONG, "Deserialize error in path parameters: expected a number")
        raise Refusal(NOT_FOUND, f"Not found: Shard {call.shard} not found")


def _waits(call: Call) -> bool:
    return call.options.get("wait", "true") != "false"


async def _long(service: Service, call: Call, work: Any) -> Any:
    """Work of which the caller may not want to see the end."""
    if _waits(call):
        return await service.within(call.timeout, service.long(work))
    service.begin(service.long(work))
    return Accepted()


def _plain(snapshots: list[models.SnapshotDescription]) -> list[dict[str, Any]]:
    return [models.to_builtins(each) for each in snapshots]


@operation(Right.READ)
async def list_snapshots(service: Service, call: Call) -> Any:
    """List the snapshots of a collection."""
    _check_shard(call)
    await service.current(call.collection)
    return _plain(await service.database.list_snapshots(call.collection))


@operation(Right.WRITE)
async def create_snapshot(service: Service, call: Call) -> Any:
    """Write all of a collection to a file."""
    _check_shard(call)
    service.collection(call.collection)

    async def work() -> Any:
        return models.to_builtins(await service.database.create_snapshot(call.collection))

    return await _long(service, call, work)


@operation(Right.WRITE)
async def delete_snapshot(service: Service, call: Call) -> Any:
    """Remove a snapshot of a collection."""
    _check_shard(call)
    service.collection(call.collection)

    async def work() -> Any:
        if not await service.database.delete_snapshot(call.collection, call.item):
            raise _no_snapshot(call.item)
        return True

    return await _long(service, call, work)


@operation(Right.READ)
async def download_snapshot(service: Service, call: Call) -> Any:
    """Send a snapshot of a collection."""
    _check_shard(call)
    await service.current(call.collection)
    known = await service.database.list_snapshots(call.collection)
    return await _download(service, call.collection, call.item, known)


@operation(Right.READ)
async def list_full_snapshots(service: Service, call: Call) -> Any:
    """List the snapshots of the whole database."""
    return _plain(await service.database.list_full_snapshots())


@operation(Right.MANAGE)
async def create_full_snapshot(service: Service, call: Call) -> Any:
    """Write all collections to a file."""

    async def work() -> Any:
        return models.to_builtins(await service.database.create_full_snapshot())

    return await _long(service, call, work)


@operation(Right.MANAGE)
async def delete_full_snapshot(service: Service, call: Call) -> Any:
    """Remove a snapshot of the whole database."""

    async def work() -> Any:
        if not await service.database.delete_full_snapshot(call.item):
            raise _no_snapshot(call.item)
        return True

    return await _long(service, call, work)


@operation(Right.READ)
async def download_full_snapshot(service: Service, call: Call) -> Any:
    """Send a snapshot of the whole database."""
    known = await service.database.list_full_snapshots()
    return await _download(service, None, call.item, known)


async def _download(
    service: Service, collection: str | None, name: str, known: list[models.SnapshotDescription]
) -> Download:
    """A name is looked up among those that there are, and is never made a path."""
    for each in known:
        if each.name == name:
            path = await service.database.snapshot_path(collection, name)
            return Download(path, name, each.checksum)
    raise _no_snapshot(name)


def _no_snapshot(name: str) -> Refusal:
    return Refusal(NOT_FOUND, f"Not found: Snapshot {name} not found")


@operation(Right.MANAGE, RECOVER)
async def recover_snapshot(service: Service, call: Call) -> Any:
    """Make a collection what a snapshot on this machine says, or one that is fetched by its URL."""
    _check_shard(call)
    await _check_collection(service, call)
    given = RECOVER.read(call.body)
    _check_priority(given.get("priority"))
    name, checksum = call.collection, _checksum(given.get("checksum"), "JSON body")
    source = await _source(service, name, given["location"], given.get("api_key"))

    async def work() -> Any:
        return await _recover(service, name, source, checksum)

    return await _long(service, call, work)


async def _source(service: Service, name: str, location: Any, key: Any) -> Path | Iterator[bytes]:
    """A file of this database, or what comes from a URL. Raises Refusal."""
    settings = service.settings
    if not isinstance(location, str) or not settings.snapshot_urls or not is_url(location):
        return await _own_snapshot(service, name, location)
    if key is not None and not isinstance(key, str):
        raise malformed("api_key: expected a string")
    free = await asyncio.to_thread(shutil.disk_usage, service.database.path)
    # It is unpacked beside itself.
    most, hosts = free.free // 2, settings.snapshot_hosts
    return fetched(location, hosts, most, key, lambda: service.stopping)


async def _check_collection(service: Service, call: Call) -> None:
    """A snapshot may make a collection; of a shard, it is of one that is there. Raises Refusal."""
    if call.shard is not None:
        service.collection(call.collection)
    elif not await service.database.collection_exists(call.collection):
        check_new_name(call.collection)


async def _own_snapshot(service: Service, name: str, location: Any) -> Path:
    """The file of a snapshot of this database, by its name or URI. Nothing else is read, and
    nothing is fetched from elsewhere. Raises Refusal."""
    if not isinstance(location, str) or not location or "\0" in location:
        raise malformed("location: expected a string")
    if "://" in location:
        return await asyncio.to_thread(_file, service.database.path / "snapshots", location)
    for collection in (name, None):
        with suppress(errors.NotFoundError):
            return await service.database.snapshot_path(collection, location)
    raise Refusal(WRONG, f"Bad request: there is no snapshot {location:.80}")


def _file(directory: Path, location: str) -> Path:
    parts = urlsplit(location)
    if parts.scheme in ("http", "https"):
        text = "snapshots are not fetched from elsewhere without --snapshot-urls; upload it"
        raise Refusal(WRONG, f"Bad request: {text}")
    if parts.scheme != "file":
        raise Refusal(WRONG, f"Bad request: unknown scheme {parts.scheme!r} of a location")
    if parts.netloc not in ("", "localhost"):
        text = "Invalid snapshot URI, file path must be absolute or on localhost"
        raise Refusal(WRONG, f"Bad request: {text}")
    try:
        path = Path(unquote(parts.path)).resolve()
        exists, own = path.is_file(), directory.resolve() in path.parents
    except (OSError, ValueError):  # a name that no file can have
        exists = own = False
    if not exists:
        text = f'Bad request: Snapshot file "{parts.path:.200}" does not exist'
        raise Refusal(WRONG, text)
    if not own:
        text = "Forbidden: Snapshot file path must be inside the snapshots directory"
        raise Refusal(FORBIDDEN, text)
    return path


def _check_priority(priority: Any) -> None:
    if priority is not None and priority not in _PRIORITIES:
        raise malformed(f"priority: expected one of {', '.join(_PRIORITIES)}")


def _checksum(given: Any, part: str) -> str | None:
    """A SHA-256. Raises Refusal."""
    if given is None:
        return None
    if not isinstance(given, str) or not re.fullmatch(r"[0-9a-fA-F]{64}", given):
        problem = "checksum: invalid_sha256_hash: expected 64 hexadecimal digits"
        raise out_of_range([problem], part)
    return given.lower()


@operation(Right.MANAGE, streams=True)
async def upload_snapshot(service: Service, call: Call) -> Any:
    """Make a collection what a snapshot says that is sent along, as the form field `snapshot`."""
    _check_shard(call)
    await _check_collection(service, call)
    _check_priority(call.options.get("priority"))
    assert call.stream is not None
    file = file_of(call.stream, call.headers.get(b"content-type", b""), "snapshot")
    checksum = _checksum(call.options.get("checksum"), "query parameters")
    restore = service.long(lambda: _restore(service, call.collection, file, checksum))
    return await service.within(call.timeout, restore)


async def _restore(
    service: Service, name: str, file: AsyncIterator[bytes], checksum: str | None
) -> bool:
    """Hand the bytes over to the thread that writes and verifies them."""
    pieces = Pieces()
    sending = asyncio.ensure_future(pieces.send(file))
    try:
        return await _recover(service, name, iter(pieces), checksum)
    finally:
        pieces.stop()
        sending.cancel()
        await asyncio.gather(sending, return_exceptions=True)


async def _recover(
    service: Service, name: str, location: Path | Iterator[bytes], checksum: str | None
) -> bool:
    """Make a collection what a snapshot says. What is wrong with the file is the caller's to
    mend, whoever has damaged it."""
    try:
        return await service.database.recover_snapshot(name, location, checksum)
    except errors.CorruptionError as error:
        status = MISMATCH if "SHA-256" in error.detail else WRONG
        words = "Checksum mismatch" if status is MISMATCH else "Bad request: not a whole snapshot"
        raise Refusal(status, f"{words}: {error.detail}") from None
    except (errors.FormatVersionError, errors.NotFoundError) as error:
        raise Refusal(WRONG, f"Bad request: {error}") from None


class Pieces:
    """Pieces of a file on their way from a coroutine to a thread."""

    def __init__(self) -> None:
        self._queue: queue.Queue[bytes | BaseException | None] = queue.Queue()
        self._room = asyncio.Semaphore(_PIECES)
        self._loop = asyncio.get_running_loop()

    async def send(self, file: AsyncIterator[bytes]) -> None:
        """Pass on what comes, and in the end how it ended."""
        try:
            async for piece in file:
                await self._room.acquire()
                self._queue.put(piece)
        except BaseException as error:
            self._queue.put(error)
            raise
        self._queue.put(None)

    def stop(self) -> None:
        """Nobody reads any more."""
        self._room.release()

    def __iter__(self) -> Iterator[bytes]:
        """What came, in the thread. Raises what ended it."""
        while True:
            piece = self._queue.get()
            if piece is None:
                return
            if isinstance(piece, BaseException):
                raise piece
            self._loop.call_soon_threadsafe(self._room.release)
            yield piece

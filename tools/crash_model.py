"""A disk as POSIX allows it to be after a power loss: what was synced, and any choice of the rest.

A trace of system calls becomes a list of operations on files (by identity) and names (by
directory). ``fsync`` of a file makes its data durable, ``fsync`` of a directory the names in it;
nothing else does. So an unsynced write may be there, or not, or in part, and a file may have its
data without its name, or its name without its data, in any combination.

The one assumption: a write within one 512-byte sector happens wholly or not at all.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

SECTOR = 512


@dataclass(slots=True)
class Op:
    """One change: of data (write, truncate) or of a name (bind, mkdir, unbind, move)."""

    kind: str
    file: int
    where: str = ""  # the name, below the root
    to: str = ""  # for move
    offset: int = 0
    data: bytes = b""
    durable: bool = False


@dataclass(slots=True)
class Disk:
    """The operations so far. ``acked`` is the last acknowledgement in the trace."""

    root: str
    ops: list[Op] = field(default_factory=list)
    acked: int = -1
    _names: dict[str, int] = field(default_factory=dict)  # as the running program sees them
    _sizes: dict[int, int] = field(default_factory=dict)
    _next: int = 1

    def load(self, directory: Path) -> None:
        """What is durable at the start."""
        for path in sorted(directory.rglob("*")):
            name = str(path.relative_to(directory))
            number = self._new(name)
            kind = "bind" if path.is_file() else "mkdir"
            self.ops.append(Op(kind, number, name, durable=True))
            if path.is_file():
                data = path.read_bytes()
                self._sizes[number] = len(data)
                self.ops.append(Op("write", number, data=data, durable=True))

    def _new(self, name: str) -> int:
        number = self._names[name] = self._next
        self._next += 1
        self._sizes[number] = 0
        return number

    def file_of(self, name: str) -> int | None:
        """The identity of the file that has this name now."""
        return self._names.get(name)

    def create(self, name: str) -> None:
        if name not in self._names:
            self.ops.append(Op("bind", self._new(name), name))

    def mkdir(self, name: str) -> None:
        self.ops.append(Op("mkdir", self._new(name), name))

    def remove(self, name: str) -> None:
        number = self._names.pop(name, None)
        if number is not None:
            self.ops.append(Op("unbind", number, name))

    def move(self, name: str, to: str) -> None:
        self.ops.append(Op("move", self._names[name], name, to))
        moved = {n: f for n, f in self._names.items() if n == name or n.startswith(name + "/")}
        for old in moved:
            del self._names[old]
        for old, number in moved.items():
            self._names[to + old[len(name) :]] = number

    def write(self, number: int, offset: int | None, data: bytes, *, durable: bool) -> None:
        """``offset`` None: at the end."""
        at = self._sizes[number] if offset is None else offset
        self._sizes[number] = max(self._sizes[number], at + len(data))
        self.ops.append(Op("write", number, offset=at, data=data, durable=durable))

    def truncate(self, number: int, length: int) -> None:
        self._sizes[number] = length
        self.ops.append(Op("truncate", number, offset=length))

    def sync(self, name: str) -> None:
        """fsync of a file or a directory."""
        number = self._names.get(name)
        for op in self.ops:
            if op.durable:
                continue
            if op.kind in ("write", "truncate"):
                op.durable = op.file == number
            elif op.kind == "move":
                op.durable = _parent(op.where) == name and _parent(op.to) == name
            else:
                op.durable = _parent(op.where) == name


def _parent(name: str) -> str:
    return os.path.dirname(name) or "."


def choices(pending: list[int], ops: list[Op]) -> Iterator[tuple[frozenset[int], tuple[int, int]]]:
    """Which of the pending operations happened; and (operation, bytes) of one that is torn."""
    everything = frozenset(pending)
    none = (-1, 0)
    yield frozenset(), none
    yield everything, none
    for n in range(1, len(pending)):
        yield frozenset(pending[:n]), none
    for op in pending:
        yield everything - {op}, none
        yield frozenset([op]), none
    for op in reversed(pending):
        size = len(ops[op].data)
        if ops[op].kind == "write" and size > 1:
            before = frozenset(p for p in pending if p <= op)
            for cut in sorted({1, size // 2, SECTOR, 4096, size - 1}):
                if 0 < cut < size and not _within_sector(ops[op]):
                    yield before, (op, cut)
                    yield everything, (op, cut)
            break


def _within_sector(op: Op) -> bool:
    return op.offset // SECTOR == (op.offset + len(op.data) - 1) // SECTOR


class Image:
    """One possible disk: names and contents."""

    def __init__(self, ops: list[Op], chosen: frozenset[int], torn: tuple[int, int]) -> None:
        self.directories: dict[str, int] = {}
        self.files: dict[str, int] = {}
        self.data: dict[int, bytearray] = {}
        for number, op in enumerate(ops):
            if op.durable or number in chosen:
                self._apply(op, torn[1] if torn[0] == number else None)

    def _apply(self, op: Op, cut: int | None) -> None:
        if op.kind == "mkdir":
            self.directories[op.where] = op.file
        elif op.kind == "bind":
            self.files[op.where] = op.file
        elif op.kind == "unbind":
            self.files.pop(op.where, None)
            self.directories.pop(op.where, None)
        elif op.kind == "move":
            self._move(op)
        else:
            data = self.data.setdefault(op.file, bytearray())
            if op.kind == "truncate":
                del data[op.offset :]
                data.extend(bytes(op.offset - len(data)))
                return
            new = op.data if cut is None else op.data[:cut]
            if len(data) < op.offset + len(new):
                data.extend(bytes(op.offset + len(new) - len(data)))
            data[op.offset : op.offset + len(new)] = new

    def _move(self, op: Op) -> None:
        for names in (self.files, self.directories):
            below = [n for n in names if n == op.where or n.startswith(op.where + "/")]
            moved = {op.to + n[len(op.where) :]: names.pop(n) for n in below}
            names.update(moved)

    def reachable(self) -> tuple[list[str], dict[str, bytes]]:
        """Directories (parents first) and files whose every parent exists."""
        directories: list[str] = []
        for name in sorted(self.directories):
            if _parent(name) == "." or _parent(name) in directories:
                directories.append(name)
        known = {".", *directories}
        files = {
            name: bytes(self.data.get(number, b""))
            for name, number in self.files.items()
            if _parent(name) in known
        }
        return directories, files

    def digest(self) -> bytes:
        """Equal for equal images."""
        directories, files = self.reachable()
        state = hashlib.blake2b(repr(directories).encode(), digest_size=16)
        for name in sorted(files):
            state.update(repr((name, len(files[name]))).encode())
            state.update(files[name])
        return state.digest()

    def write(self, target: Path) -> None:
        """Make the image a directory."""
        shutil.rmtree(target, ignore_errors=True)
        target.mkdir()
        directories, files = self.reachable()
        for name in directories:
            (target / name).mkdir()
        for name, data in files.items():
            (target / name).write_bytes(data)


# -- reading a trace ---------------------------------------------------------------------------

_CALL = re.compile(r"^(\d+)\s+(?:<\.\.\. )?(\w+)(?: resumed>)?(.*)$")
_FD = re.compile(r"(-?\d+)<((?:\\x[0-9a-f]{2})*)(?:\([^>]*\))?>")
_TEXT = re.compile(r'"((?:\\x[0-9a-f]{2})*)"')


def _bytes(escaped: str) -> bytes:
    return bytes.fromhex(escaped.replace("\\x", ""))


def calls(trace: Path) -> Iterator[tuple[str, str, int]]:
    """(name, arguments, result) of every finished call, in the order they finished."""
    unfinished: dict[tuple[str, str], str] = {}
    for line in trace.read_text("latin-1").splitlines():
        match = _CALL.match(line)
        if match is None:
            continue
        pid, name, rest = match.groups()
        if rest.endswith("<unfinished ...>"):
            unfinished[pid, name] = rest.removesuffix("<unfinished ...>")
            continue
        if "resumed>" in line:
            rest = unfinished.pop((pid, name), "") + rest
        arguments, _, result = rest.rpartition(" = ")
        value = re.match(r"\s*(-?\d+)", result)
        if value is not None and int(value[1]) >= 0:
            yield name, arguments, int(value[1])


class Tracer:
    """Feeds the calls of a trace into a ``Disk``, yielding it after each call that matters."""

    def __init__(self, disk: Disk) -> None:
        self.disk = disk
        self._synced_fds: set[int] = set()  # opened O_DSYNC: LMDB's meta page
        self._positions: dict[int, int] = {}

    def _name(self, path: bytes) -> str | None:
        text = os.fsdecode(path)
        if text == self.disk.root:
            return "."
        prefix = self.disk.root + "/"
        return text[len(prefix) :] if text.startswith(prefix) else None

    def run(self, trace: Path) -> Iterator[Disk]:
        for name, arguments, result in calls(trace):
            if self._call(name, arguments, result):
                yield self.disk

    def _call(self, name: str, arguments: str, result: int) -> bool:
        disk = self.disk
        texts = [_bytes(t) for t in _TEXT.findall(arguments)]
        fd_match = _FD.search(arguments)
        if name == "openat":
            return self._open(arguments, texts, result)
        if name in ("mkdir", "mkdirat", "unlink", "unlinkat", "rmdir"):
            where = self._name(self._absolute(texts[0], fd_match))
            if where is None:
                return False
            disk.mkdir(where) if name.startswith("mkdir") else disk.remove(where)
            return True
        if name.startswith("rename"):
            source, target = self._name(texts[0]), self._name(texts[1])
            if source is None or target is None:
                return False
            disk.move(source, target)
            return True
        if fd_match is None:
            return False
        fd, path = int(fd_match[1]), _bytes(fd_match[2])
        if fd == 1 and name == "write" and texts[0].startswith(b"ACK"):
            disk.acked = int(texts[0].split()[1])
            return True
        where = self._name(path.removesuffix(b" (deleted)"))
        if where is None:
            return False
        return self._file_call(name, arguments, result, fd, where, texts)

    def _file_call(
        self, name: str, arguments: str, result: int, fd: int, where: str, texts: list[bytes]
    ) -> bool:
        disk = self.disk
        if name in ("fsync", "fdatasync"):
            disk.sync(where)
            return True
        if name == "lseek":
            self._positions[fd] = result
            return False
        number = disk.file_of(where)
        if number is None or where.endswith(("lock.mdb", "LOCK")):
            return False
        if name == "ftruncate":
            disk.truncate(number, int(arguments.rsplit(",", 1)[1].rstrip(") ")))
            return True
        if name in ("write", "writev", "pwrite64", "pwritev"):
            data = b"".join(texts)[:result]
            offset: int | None = None
            if name.startswith("pwrite"):
                offset = int(arguments.rsplit(",", 1)[1].rstrip(") "))
            elif fd in self._positions:
                offset = self._positions[fd]
                self._positions[fd] += result
            disk.write(number, offset, data, durable=fd in self._synced_fds)
            return True
        return False

    def _absolute(self, text: bytes, fd_match: re.Match[str] | None) -> bytes:
        if text.startswith(b"/") or fd_match is None:
            return text
        return _bytes(fd_match[2]) + b"/" + text

    def _open(self, arguments: str, texts: list[bytes], fd: int) -> bool:
        self._positions.pop(fd, None)
        self._synced_fds.discard(fd)
        where = self._name(texts[0])
        if where is None:
            return False
        if "O_DSYNC" in arguments:
            self._synced_fds.add(fd)
        if "O_CREAT" not in arguments or where.endswith(("lock.mdb", "LOCK")):
            return False
        before = len(self.disk.ops)
        self.disk.create(where)
        return len(self.disk.ops) > before

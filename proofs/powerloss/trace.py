"""System calls: recorded with strace, read back, and done again on a model of the disk.

strace sees what every library does, LMDB's own writes too. What it cannot show (stores through a
shared mapping) and what the model does not know raises ``Unmodelled``: a trace is understood
wholly or refused.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path

from proofs.powerloss.disk import Disk

_WRITES = ("write", "pwrite64", "writev", "pwritev")
_NAMES = ("mkdir", "mkdirat", "unlink", "unlinkat", "rmdir", "rename", "renameat", "renameat2")
_LINKS = ("link", "linkat")
_UNKNOWN = (
    *("sendfile", "copy_file_range", "splice", "fallocate", "pwritev2", "truncate"),
    *("symlink", "symlinkat"),
)
_CALLS = (
    *("openat", "open", "creat", "fsync", "fdatasync", "ftruncate", "lseek", "mmap"),
    "io_uring_setup",
    *(_WRITES + _NAMES + _LINKS + _UNKNOWN),
)
_LONGEST = 16 << 20
"""Bytes of one write that strace prints."""
_NOT_DATA = ("lock.mdb", "LOCK")
"""Files whose content means nothing after a crash."""
_NOT_DATA_HEX = tuple("".join(f"\\x{ord(c):02x}" for c in name) for name in _NOT_DATA)


class Unmodelled(RuntimeError):
    """The program did something that the model of the disk does not have."""


def unusable() -> str | None:
    """Why strace cannot be used here; None if it can."""
    if shutil.which("strace") is None:
        return "strace is needed and not installed"
    with tempfile.NamedTemporaryFile() as file:
        tried = subprocess.run(
            ["strace", "-o", file.name, "true"], stderr=subprocess.PIPE, text=True, check=False
        )
    return f"strace does not work here: {tried.stderr.strip()}" if tried.returncode else None


def record(program: list[str], trace: Path, environment: dict[str, str]) -> None:
    """Run a program under strace."""
    calls = ",".join(f"?{name}" for name in _CALLS)
    strace = ["strace", "-f", "-y", "-xx", "-s", str(_LONGEST), "-e", f"trace={calls}"]
    run([*strace, "-o", str(trace), *program], environment)


def run(program: list[str], environment: dict[str, str]) -> None:
    """Run a program. Raises RuntimeError with what it said."""
    done = subprocess.run(
        program,
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(f"{' '.join(program)}: exit code {done.returncode}\n{done.stderr}")


# -- lines ---------------------------------------------------------------------------------------

_LINE = re.compile(r"^(\d+)\s+(?:<\.\.\. )?(\w+)(?: resumed>)?(.*)$")
_FD = re.compile(r"(-?\d+|AT_FDCWD)<((?:\\x[0-9a-f]{2})*)(?:\([^>]*\))?>(?!\(deleted\))")
_RESULT = re.compile(r"\s*(-?\d+|0x[0-9a-f]+)(?:<((?:\\x[0-9a-f]{2})*)(?:\([^>]*\))?>)?")
_TEXT = re.compile(r'"((?:\\x[0-9a-f]{2})*)"(\.\.\.)?')


@dataclass(slots=True)
class Call:
    """One finished system call."""

    name: str
    arguments: str
    result: int
    began: int
    """How many calls had finished when it began."""
    opened: bytes | None = None
    """What the descriptor is of that it gave, whatever path led there."""


class Moment(Enum):
    """When a crash may leave what it could not before."""

    CHANGED = "there is one more operation"
    BEFORE_SYNC = "something is about to become durable: now is the last chance to lose it"


@dataclass(frozen=True, slots=True)
class Ack:
    """The program wrote that a step is done; ``seq`` is the operation's number, 0: none."""

    step: int
    seq: int


def calls(trace: Path) -> Iterator[Call]:
    """Every call that succeeded, in the order in which they finished."""
    unfinished: dict[tuple[str, str], tuple[str, int]] = {}
    finished = 0
    with trace.open(encoding="latin-1") as lines:
        for line in lines:
            match = _LINE.match(line.rstrip("\n"))
            if match is None:
                continue
            pid, name, rest = match.groups()
            if rest.endswith("<unfinished ...>"):
                unfinished[pid, name] = rest.removesuffix("<unfinished ...>"), finished
                continue
            began = finished
            if "resumed>" in line[:80]:
                before, began = unfinished.pop((pid, name), ("", finished))
                rest = before + rest
            arguments, _, result = rest.rpartition(" = ")
            value = _RESULT.match(result)
            if value is not None and not value[1].startswith("-"):
                opened = _bytes(value[2]) if value[2] else None
                yield Call(name, arguments, int(value[1], 0), began, opened)
                finished += 1


def acknowledgements(trace: Path) -> list[Ack]:
    """All of a trace, in order."""
    return [ack for call in calls(trace) if (ack := _ack(call)) is not None]


def _ack(call: Call) -> Ack | None:
    if call.name != "write" or not call.arguments.startswith("(1<"):
        return None
    match = re.fullmatch(rb"ACK (\d+) (\d+)\n", _bytes(_TEXT.findall(call.arguments)[0][0]))
    return Ack(int(match[1]), int(match[2])) if match else None


def _bytes(escaped: str) -> bytes:
    return bytes.fromhex(escaped.replace("\\x", ""))


def _texts(call: Call) -> list[bytes]:
    found = _TEXT.findall(call.arguments)
    if any(cut for _, cut in found):
        raise Unmodelled(f"{call.name}: a buffer longer than {_LONGEST} bytes")
    return [_bytes(text) for text, _ in found]


# -- doing it again --------------------------------------------------------------------------------


@dataclass
class Replay:
    """Does the calls of a trace on a ``Disk``. ``root`` is what the disk is of."""

    disk: Disk
    root: str
    _synced: set[int] = field(default_factory=set)
    """Descriptors opened O_DSYNC: LMDB's for its meta page."""
    _positions: dict[int, int | None] = field(default_factory=dict)
    """Of descriptors; None: appending."""

    def run(self, trace: Path) -> Iterator[Ack | Moment]:
        """Every acknowledgement, and every moment at which a crash leaves something new."""
        disk = self.disk
        counts = [0]  # operations on the disk when so many calls had finished
        for call in calls(trace):
            before = len(disk.ops)
            ack = _ack(call)
            if ack is not None:
                yield ack
            elif call.name in ("fsync", "fdatasync"):
                number = self._file_of(call)
                if number is not None and disk.waits_for(number, counts[call.began]):
                    yield Moment.BEFORE_SYNC
                    disk.sync(number, counts[call.began])
            else:
                synced = self._do(call)
                if len(disk.ops) > before:
                    yield Moment.BEFORE_SYNC if synced else Moment.CHANGED
                    if synced:
                        disk.settle()
            counts.append(len(disk.ops))
        yield Moment.BEFORE_SYNC

    def _do(self, call: Call) -> bool:
        """Change the disk; whether the change is durable at once."""
        if call.name in ("open", "openat", "creat"):
            self._open(call)
        elif call.name in _NAMES or call.name in _LINKS:
            self._change_name(call)
        elif call.name == "mmap":
            self._require_unwritten(call)
        elif call.name == "io_uring_setup" or (call.name in _UNKNOWN and self._concerns(call)):
            raise Unmodelled(f"{call.name}{call.arguments:.200}")
        else:
            return self._write(call)
        return False

    def _file_of(self, call: Call) -> int | None:
        """What a descriptor is of, if that is on the disk."""
        match = _FD.search(call.arguments)
        name = self._name(_bytes(match[2])) if match is not None else None
        return self.disk.find(name) if name is not None else None

    def _write(self, call: Call) -> bool:
        """A call that changes data; whether its descriptor is O_DSYNC."""
        match = _FD.search(call.arguments)
        number = self._file_of(call)
        if match is None or number is None or match[2].endswith(_NOT_DATA_HEX):
            return False
        fd = int(match[1])
        if call.name == "ftruncate":
            self.disk.truncate(number, _last_number(call))
        elif call.name == "lseek":
            self._positions[fd] = call.result
        elif call.name in _WRITES:
            data = b"".join(_texts(call))[: call.result]
            if call.name.startswith("pw"):
                at: int | None = _last_number(call)
            else:
                at = self._positions.get(fd)
                self._positions[fd] = None if at is None else at + len(data)
            self.disk.write(number, at, data)
            return fd in self._synced
        return False

    def _open(self, call: Call) -> None:
        fd, disk = call.result, self.disk
        self._synced.discard(fd)
        name = self._name(call.opened or self._paths(call)[0])
        if name is None:
            return
        self._positions[fd] = None if "O_APPEND" in call.arguments else 0
        if "O_DSYNC" in call.arguments or "O_SYNC" in call.arguments:
            self._synced.add(fd)
        number = disk.find(name)
        if number is not None and "O_TRUNC" in call.arguments and not name.endswith(_NOT_DATA):
            disk.truncate(number, 0)
        elif number is None and ("O_CREAT" in call.arguments or call.name == "creat"):
            disk.create(name)

    def _change_name(self, call: Call) -> None:
        disk, paths = self.disk, self._paths(call)
        names = [self._name(path) for path in paths]
        if all(name is None for name in names):
            return
        where, to = names[0], names[-1]
        if where is None or to is None:
            raise Unmodelled(f"{call.name} across the root: {paths}")
        if call.name.startswith("mkdir"):
            disk.mkdir(where)
        elif call.name.startswith("rename"):
            if "RENAME_" in call.arguments and "RENAME_NOREPLACE" not in call.arguments:
                raise Unmodelled(f"{call.name}{call.arguments:.200}")
            disk.move(where, to)
        elif call.name in _LINKS:
            disk.link(where, to)
        else:
            disk.remove(where)

    def _require_unwritten(self, call: Call) -> None:
        """Stores through a mapping are invisible, so there must be none."""
        fd_match = _FD.search(call.arguments)
        if fd_match is None or "PROT_WRITE" not in call.arguments:
            return
        name = self._name(_bytes(fd_match[2]))
        if "MAP_SHARED" in call.arguments and name is not None and not name.endswith(_NOT_DATA):
            raise Unmodelled(f"a writable shared mapping of {name}")

    def _concerns(self, call: Call) -> bool:
        paths = [_bytes(path) for _, path in _FD.findall(call.arguments)] + self._paths(call)
        names = [self._name(path) for path in paths]
        return any(name is not None and not name.endswith(_NOT_DATA) for name in names)

    def _paths(self, call: Call) -> list[bytes]:
        """The paths among the arguments, made absolute with the descriptors before them."""
        directories = [_bytes(path) for _, path in _FD.findall(call.arguments)]
        paths = []
        for number, text in enumerate(_texts(call)):
            if not text.startswith(b"/") and number < len(directories):
                text = directories[number] + b"/" + text
            paths.append(text)
        return paths

    def _name(self, path: bytes) -> str | None:
        text = os.fsdecode(path)
        if text == self.root:
            return "."
        prefix = self.root + "/"
        return text[len(prefix) :] if text.startswith(prefix) else None


def _last_number(call: Call) -> int:
    return int(call.arguments.rsplit(",", 1)[1].rstrip(") "))

"""Control groups that limit the memory of a process, of version 1 or 2 as the machine has it.

A group is made below the one we are in (or, where version 2 allows no group there, below the
nearest one above): it can only be narrower. Nothing of another group is changed.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

_CGROUP = Path("/proc/self/cgroup")
_MOUNTS = Path("/proc/self/mounts")
_JOIN = 'echo $$ > "$0/cgroup.procs" && exec "$@"'


class NoGroup(Exception):
    """Why memory cannot be limited here."""


@dataclass(frozen=True)
class Place:
    """Where groups can be made, and the version of control groups there."""

    path: Path
    version: int


@dataclass(frozen=True)
class Group:
    """A group with a limit, for one process and what it starts."""

    path: Path
    version: int

    @property
    def command(self) -> list[str]:
        """Before a command line: a shell that enters the group and becomes the command."""
        return ["/bin/sh", "-c", _JOIN, str(self.path)]

    def killed(self) -> bool:
        """Whether the kernel has killed a process here because its memory did not fit."""
        name = "memory.oom_control" if self.version == 1 else "memory.events"
        return _field(self.path / name, "oom_kill") > 0

    def peak(self) -> int | None:
        """The most bytes it had, page cache included. None: this kernel does not say."""
        name = "memory.max_usage_in_bytes" if self.version == 1 else "memory.peak"
        try:
            return int((self.path / name).read_text())
        except OSError:
            return None


def place(cgroup: Path = _CGROUP, mounts: Path = _MOUNTS) -> Place:
    """Where a group can be made. Raises NoGroup."""
    try:
        mounted = [line.split() for line in mounts.read_text().splitlines()]
        ours = [line.split(":", 2) for line in cgroup.read_text().splitlines()]
    except OSError as error:
        raise NoGroup(f"no control groups: {error}") from None
    own = {tuple(controllers.split(",")): path.lstrip("/") for _, controllers, path in ours}
    for _, at, kind, options, *_ in mounted:
        if kind == "cgroup" and "memory" in options.split(","):
            inside = next(path for names, path in own.items() if "memory" in names)
            return _writable(Place(Path(at) / inside, 1))
    for _, at, kind, *_ in mounted:
        if kind == "cgroup2":
            return _writable(_delegating(Path(at), Path(at) / own.get(("",), "")))
    raise NoGroup("no control group of this machine counts memory")


def _delegating(top: Path, here: Path) -> Place:
    """The nearest group from here upwards whose groups may limit memory: none that has both
    processes and such groups, but the topmost."""
    while True:
        given = here / "cgroup.subtree_control"
        if given.exists() and "memory" in given.read_text().split():
            return Place(here, 2)
        if here == top:
            raise NoGroup(f"no control group below {top} may limit memory")
        here = here.parent


def _writable(found: Place) -> Place:
    if not os.access(found.path, os.W_OK):
        raise NoGroup(
            f"no right to make a control group in {found.path}; run as root, or with "
            "`systemd-run --user --scope -p Delegate=yes`"
        )
    return found


@contextmanager
def limited(where: Place, name: str, size: int) -> Iterator[Group]:
    """A new group of at most ``size`` bytes and no swap, removed afterwards. Its processes must
    have ended by then. Raises NoGroup."""
    group = Group(where.path / name, where.version)
    try:
        group.path.mkdir()
    except OSError as error:
        raise NoGroup(f"no control group can be made: {error}") from None
    try:
        _limit(group, size)
        yield group
    finally:
        _remove(group.path)


def _limit(group: Group, size: int) -> None:
    limit, swap = {
        1: ("memory.limit_in_bytes", ("memory.memsw.limit_in_bytes", size)),
        2: ("memory.max", ("memory.swap.max", 0)),
    }[group.version]
    try:
        (group.path / limit).write_text(f"{size}")
    except OSError as error:
        raise NoGroup(f"no limit can be set: {error}") from None
    with suppress(OSError):  # a kernel without swap has no such file
        (group.path / swap[0]).write_text(f"{swap[1]}")


def _remove(path: Path) -> None:
    """A process that has just ended is in its group for a moment yet."""
    for _ in range(50):
        try:
            path.rmdir()
        except OSError:
            time.sleep(0.1)
        else:
            return


def _field(path: Path, name: str) -> int:
    """A number of a file with a name and a number a line; 0 if it is not there."""
    try:
        lines = [line.split() for line in path.read_text().splitlines()]
    except OSError:
        return 0
    return sum(int(words[1]) for words in lines if words[0] == name)

"""How the faults of ``faults.py`` are done, each in a process of its own that ends afterwards.

Nothing here is ever put back.
"""

from __future__ import annotations

import builtins
import ctypes
import errno
import io
import os
import resource
import shutil
import stat
import subprocess
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from proofs.io_faults.faults import FUNCTIONS, Fault
from vecdb.storage.catalog import DATA

HERE = Path(__file__).resolve().parent


class Injector:
    """What the k-loop knows of a fault."""

    def __init__(self) -> None:
        self._hits: list[str] = []
        self.seen: Counter[str] = Counter()
        """What there was while it was armed: calls by kind, and bytes written."""

    @property
    def hits(self) -> list[str]:
        """The calls that failed, as far as that can be told."""
        return self._hits

    def arm(self) -> None:
        """From now on calls are counted, or space is short."""

    def lift(self) -> None:
        """Everything works again."""


def injector(fault: Fault, root: Path) -> Injector:
    """The injector for calls on files below ``root``."""
    if fault.where == "os":
        return OsCalls(fault, root)
    if fault.where == "libc":
        return LibcCalls(fault, root)
    if fault.where == "tmpfs":
        return LittleSpace(fault.at, root)
    return ShortFiles(fault.at)


# -- the k-th call of Python -----------------------------------------------------------------


class OsCalls(Injector):
    """Replaces functions of ``os``, and ``open`` for the reads."""

    def __init__(self, fault: Fault, root: Path) -> None:
        super().__init__()
        self._fault = fault
        self._root = str(root)
        self._number = getattr(errno, fault.error)
        self._kinds = fault.kinds
        self._armed = False
        self._calls = 0  # of those that can fail
        self._close = os.close
        self._synced: dict[tuple[int, int], int] = {}  # file -> bytes that are safe
        for name, kind in FUNCTIONS.items():
            setattr(os, name, self._counted(getattr(os, name), name, kind))
        builtins.open = io.open = self._counted(io.open, "open", "list")

    def arm(self) -> None:
        self._armed = True

    def lift(self) -> None:
        self._armed = False

    def _counted(self, real: Callable[..., Any], name: str, kind: str) -> Callable[..., Any]:
        def call(target: Any, *args: Any, **kwargs: Any) -> Any:
            if not self._armed:
                return self._done(real, kind, target, *args, **kwargs)
            what = "create" if kind == "open" and args[0] & os.O_CREAT else kind
            if not self._inside(target, kwargs):
                return self._done(real, what, target, *args, **kwargs)
            self._see(what, args)
            if what not in self._kinds:
                return self._done(real, what, target, *args, **kwargs)
            self._calls += 1
            if not self._fails():
                return self._done(real, what, target, *args, **kwargs)
            self._hits.append(f"{what} {name} {self._name(target)}")
            return self._fail(real, what, target, *args, **kwargs)

        return call

    def _see(self, kind: str, args: Any) -> None:
        self.seen[kind] += 1
        if kind == "write":
            parts = args[0] if isinstance(args[0], list) else args[:1]
            self.seen["bytes"] += sum(len(part) for part in parts)

    def _fails(self) -> bool:
        """Whether this call does not work as it should."""
        at, mode = self._fault.at, self._fault.mode
        if mode in ("on", "short-on", "after-on"):
            return self._calls >= at
        return self._calls == at or (mode == "short-once" and self._calls == at + 1)

    def _fail(self, real: Callable[..., Any], kind: str, *args: Any, **kwargs: Any) -> Any:
        mode = self._fault.mode
        if mode.startswith("short") and self._calls == self._fault.at:
            return self._write_part(real, *args)
        first = self._calls == self._fault.at
        # Linux closes a descriptor whatever it says.
        if mode == "after" or (mode == "after-on" and first) or kind == "close":
            result = real(*args, **kwargs)
            if kind in ("open", "create"):
                self._close(result)  # there is a file, but nobody has it open
        if mode == "lost":
            self._lose(args[0])
        raise OSError(self._number, f"{os.strerror(self._number)} (injected)")

    def _done(self, real: Callable[..., Any], kind: str, *args: Any, **kwargs: Any) -> Any:
        result = real(*args, **kwargs)
        if kind == "sync":
            status = os.fstat(args[0])
            self._synced[status.st_dev, status.st_ino] = status.st_size
        return result

    def _write_part(self, real: Callable[..., Any], fd: int, data: Any, *more: Any) -> int:
        buffers = data if isinstance(data, list) else [data]
        joined = b"".join(bytes(buffer) for buffer in buffers)
        length = (1, len(joined) // 2, len(joined) - 1)[self._fault.at % 3]
        part = joined[: max(length, 1)]
        return int(real(fd, [part] if isinstance(data, list) else part, *more))

    def _lose(self, fd: int) -> None:
        """What was not synced before reads as zeros from now on. Not of a catalog: LMDB has synced
        it, which is not seen here."""
        if _path(fd).endswith(DATA):
            return
        status = os.fstat(fd)
        start = self._synced.get((status.st_dev, status.st_ino), 0)
        if stat.S_ISREG(status.st_mode) and status.st_size > start:
            with open(f"/proc/self/fd/{fd}", "r+b") as file:
                file.seek(start)
                file.write(bytes(status.st_size - start))

    def _inside(self, target: Any, kwargs: Any) -> bool:
        if kwargs.get("dir_fd") is not None or kwargs.get("src_dir_fd") is not None:
            return True
        return _path(target).startswith(self._root)

    def _name(self, target: Any) -> str:
        return os.path.relpath(_path(target), self._root)


def _path(target: Any) -> str:
    """Of a path, or of an open descriptor."""
    if not isinstance(target, int):
        return os.fsdecode(target)
    try:
        return os.readlink(f"/proc/self/fd/{target}")
    except OSError:
        return ""


# -- the k-th call of any library ------------------------------------------------------------

_OPEN, _READ, _WRITE, _SYNC, _TRUNCATE = 1, 2, 4, 8, 16
_SHIM_KINDS = {"catalog": _OPEN | _WRITE | _SYNC | _TRUNCATE, "reads": _READ}
_SHIM_MODES = {"once": 0, "on": 1, "after": 2, "short": 3, "after-on": 4}


def build_shim(directory: Path) -> Path | None:
    """``shim.c`` compiled; None where that is not possible."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    library = directory / "shim.so"
    if compiler is None:
        return None
    command = [compiler, "-shared", "-fPIC", "-O1", "-o", str(library), str(HERE / "shim.c")]
    done = subprocess.run([*command, "-ldl"], capture_output=True, check=False)
    return library if done.returncode == 0 else None


def shim_loaded() -> bool:
    """Whether this process was started with the shim."""
    return hasattr(ctypes.CDLL(None), "io_shim_set")


class LibcCalls(Injector):
    """Tells the shim."""

    def __init__(self, fault: Fault, root: Path) -> None:
        super().__init__()
        self._fault = fault
        self._root = str(root)
        self._shim = ctypes.CDLL(None)
        self._shim.io_shim_hit.restype = ctypes.c_char_p
        self._shim.io_shim_calls.restype = ctypes.c_long
        self._shim.io_shim_set.argtypes = [
            *(ctypes.c_char_p, ctypes.c_char_p, ctypes.c_int),
            *(ctypes.c_long, ctypes.c_int, ctypes.c_int),
        ]

    def arm(self) -> None:
        kinds, mode = _SHIM_KINDS[self._fault.what], _SHIM_MODES[self._fault.mode]
        only = "/catalog/" if self._fault.what == "catalog" else ""
        number = getattr(errno, self._fault.error)
        self._set(self._root, only, kinds, self._fault.at, number, mode)

    @property
    def hits(self) -> list[str]:
        hit = self._shim.io_shim_hit().decode()
        return self._hits or ([hit.replace(self._root + "/", "")] if hit else [])

    def lift(self) -> None:
        self._hits = self.hits
        self.seen["calls"] = max(self.seen["calls"], self._shim.io_shim_calls())
        self._set("", "", 0, 0, 0, 0)

    def _set(self, root: str, only: str, *numbers: int) -> None:
        self._shim.io_shim_set(os.fsencode(root), only.encode(), *numbers)


# -- for real --------------------------------------------------------------------------------

_CLONE_NEWNS, _CLONE_NEWUSER = 0x00020000, 0x10000000
_MS_REMOUNT, _MS_REC, _MS_PRIVATE = 32, 1 << 14, 1 << 18
PLENTY = 1 << 28


def _mount(source: str, target: Path, kind: str, flags: int, data: str = "") -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    arguments = (os.fsencode(target), kind.encode(), ctypes.c_ulong(flags), data.encode())
    if libc.mount(source.encode(), *arguments):
        number = ctypes.get_errno()
        raise OSError(number, f"mount: {os.strerror(number)}")


def mount_little(target: Path) -> str | None:
    """Mount a tmpfs that only this process and its children see; why not, if that is not
    possible. Without root it takes a user namespace."""
    libc = ctypes.CDLL(None, use_errno=True)
    root, uid, gid = os.geteuid() == 0, os.geteuid(), os.getegid()
    try:
        if libc.unshare(_CLONE_NEWNS | (0 if root else _CLONE_NEWUSER)):
            return f"unshare: {os.strerror(ctypes.get_errno())}"
        if not root:
            Path("/proc/self/setgroups").write_text("deny")
            Path("/proc/self/uid_map").write_text(f"0 {uid} 1")
            Path("/proc/self/gid_map").write_text(f"0 {gid} 1")
        _mount("none", Path("/"), "", _MS_REC | _MS_PRIVATE)
        _mount("tmpfs", target, "tmpfs", 0, f"size={PLENTY}")
    except (OSError, AttributeError) as error:
        return str(error)
    return None


def unmount(target: Path) -> None:
    """Take it away, though something in it may be open; fine if nothing is mounted."""
    ctypes.CDLL(None).umount2(os.fsencode(target), 2)


class LittleSpace(Injector):
    """The tmpfs of ``mount_little``, with only so much left."""

    def __init__(self, left: int, root: Path) -> None:
        super().__init__()
        self._left = left
        self._mounted = root
        while not self._mounted.is_mount():
            self._mounted = self._mounted.parent

    def arm(self) -> None:
        status = os.statvfs(self._mounted)
        used = (status.f_blocks - status.f_bfree) * status.f_frsize
        self._resize(max(used + self._left, status.f_frsize))  # 0 is no limit at all

    def lift(self) -> None:
        self._resize(PLENTY)

    def _resize(self, size: int) -> None:
        _mount("tmpfs", self._mounted, "tmpfs", _MS_REMOUNT, f"size={size}")


class ShortFiles(Injector):
    """RLIMIT_FSIZE: what is too long is written in part first. Python ignores SIGXFSZ."""

    def __init__(self, longest: int) -> None:
        super().__init__()
        self._longest = longest

    def arm(self) -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (self._longest, resource.RLIM_INFINITY))

    def lift(self) -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))

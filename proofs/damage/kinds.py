"""Damage: what can happen to a file or directory, and all the cases there are of it.

A case has a name that says all of it, so that it can be replayed::

    closed:read:collections/plain/FORMAT:flip:17:3
    |      |    |                        |    arguments
    |      |    |                        kind of damage, a function below
    |      |    what is damaged
    |      when: before the database is opened (``read``; ``build``: and all segments are then
    |      written anew), or after it (``live``)
    which database
"""

from __future__ import annotations

import os
import shutil
import zlib
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from proofs.damage.reasons import PAGE, newest_meta, read_catalog

SMALL = 8192
"""Of files up to here every byte is damaged, and every length tried."""
ELSEWHERE = 200
"""Random offsets in each larger file."""
EXHAUSTIVE = {
    "FORMAT": ("plain",),
    "data.mdb": ("named", "plain"),
    "wal": ("binary", "named", "plain"),
    "vectors": ("plain", "scalar"),
    "codes": ("binary", "named", "scalar"),
    "quantizer": ("binary", "named", "scalar"),
    "sketch": (),
    "index": (),
    **dict.fromkeys(("sparse-offsets", "sparse-indices", "sparse-values"), ()),
    **dict.fromkeys(("terms", "postings", "token-offsets", "tokens"), ()),
    "column": ("payloads",),
    **dict.fromkeys(("ids", "payload"), ("named", "plain")),
    "payload-edits": ("named", "plain"),
    **dict.fromkeys(("order", "seqs", "payload-offsets", "present", "manifest"), ("named",)),
}
"""Where every byte and every length is tried, by kind of file: all ways of reading it. Of an index
every tenth: one that is damaged is built anew, which takes a quarter of a second."""
GROWTH = (1, 7, 8, 24, 40, 512, 4096, 65536)
OLDER = {"closed": ("eve", "older"), "killed": ("halfway", "closed", "older")}


@dataclass(frozen=True)
class Case:
    """One damage of one thing."""

    template: str
    mode: str
    path: str
    damage: str
    arguments: tuple[str, ...] = ()

    @property
    def id(self) -> str:
        return ":".join([self.template, self.mode, self.path, self.damage, *self.arguments])

    @classmethod
    def parse(cls, text: str) -> Case:
        template, mode, path, damage, *arguments = text.split(":")
        return cls(template, mode, path, damage, tuple(arguments))

    @property
    def kind(self) -> str:
        return kind_of(self.path)

    @property
    def touched(self) -> list[str]:
        """The paths that are not as they were."""
        return [self.path, *(self.arguments if self.damage == "swap" else ())]

    @property
    def owners(self) -> set[str]:
        """The collections that are touched; empty for files of the database itself."""
        parts = [PurePosixPath(path).parts for path in self.touched]
        return {p[1] for p in parts if len(p) > 1 and p[0] == "collections"}


def kind_of(path: str) -> str:
    """``vectors``, ``wal``, ``FORMAT (database)``, ``segments/``, …; directories end in a slash."""
    parts = PurePosixPath(path).parts
    if len(parts) == 1:
        return {"collections": "collections/"}.get(path, f"{path} (database)")
    match parts[2:]:
        case ():
            return "<collection>/"
        case (("catalog" | "wal" | "segments") as name,):
            return f"{name}/"
        case ("segments", _):
            return "segments/<id>/"
        case ("wal", _):
            return "wal"
        case (*_, name):
            return name.split(".")[0] if parts[2] == "segments" else name
    raise ValueError(path)


# -- what happens ------------------------------------------------------------------------------


@dataclass(frozen=True)
class Place:
    """Where damage is done: a copy of a database, and where other databases are."""

    root: Path
    templates: Path
    seed: int

    def random(self, case: Case, size: int) -> bytes:
        return np.random.default_rng([self.seed, zlib.crc32(case.id.encode())]).bytes(size)


def apply(case: Case, place: Place) -> None:
    """Do it."""
    path = place.root / case.path
    if case.damage in _BYTES:
        data = damaged_bytes(case, place)
        if case.mode == "live":  # the file that is open, not another one of its name
            with open(path, "r+b") as file:
                file.write(data)
        else:
            path.unlink()
            path.write_bytes(data)
    else:
        _NAMES[case.damage](path, case, place)


def damaged_bytes(case: Case, place: Place) -> bytes:
    """What a file holds after damage of its bytes."""
    data = bytearray((place.root / case.path).read_bytes())
    return bytes(_BYTES[case.damage](data, case, place))


def _flip(data: bytearray, case: Case, place: Place) -> bytearray:
    at, bit = map(int, case.arguments)
    data[at] ^= 1 << bit
    return data


def _cut(data: bytearray, case: Case, place: Place) -> bytearray:
    return data[: int(case.arguments[0])]


def _empty(data: bytearray, case: Case, place: Place) -> bytearray:
    return bytearray()


def _zeros(data: bytearray, case: Case, place: Place) -> bytearray:
    return data + bytes(int(case.arguments[0]))


def _garbage(data: bytearray, case: Case, place: Place) -> bytearray:
    return data + place.random(case, int(case.arguments[0]))


def _wipe(data: bytearray, case: Case, place: Place) -> bytearray:
    start, length = map(int, case.arguments)
    data[start : start + length] = bytes(len(data[start : start + length]))
    return data


def _noise(data: bytearray, case: Case, place: Place) -> bytearray:
    start, length = map(int, case.arguments)
    data[start : start + length] = place.random(case, len(data[start : start + length]))
    return data


def _delete(path: Path, case: Case, place: Place) -> None:
    shutil.rmtree(path) if path.is_dir() else path.unlink()


def _directory(path: Path, case: Case, place: Place) -> None:
    _delete(path, case, place)
    path.mkdir()


def _file(path: Path, case: Case, place: Place) -> None:
    _delete(path, case, place)
    path.write_bytes(b"not a directory")


def _dangling(path: Path, case: Case, place: Place) -> None:
    _delete(path, case, place)
    path.symlink_to("/nowhere/at/all")


def _loop(path: Path, case: Case, place: Place) -> None:
    _delete(path, case, place)
    path.symlink_to(path)


def _from(path: Path, case: Case, place: Place) -> None:
    template, source = case.arguments
    _delete(path, case, place)
    if (place.templates / template / source).is_dir():
        shutil.copytree(place.templates / template / source, path)
    else:
        shutil.copyfile(place.templates / template / source, path)


def _swap(path: Path, case: Case, place: Place) -> None:
    other = place.root / case.arguments[0]
    aside = path.with_name("aside")
    path.rename(aside)
    other.rename(path)
    aside.rename(other)


_BYTES: dict[str, Callable[[bytearray, Case, Place], bytearray]] = {
    "flip": _flip,
    "cut": _cut,
    "empty": _empty,
    "zeros": _zeros,
    "garbage": _garbage,
    "wipe": _wipe,
    "noise": _noise,
}
_NAMES: dict[str, Callable[[Path, Case, Place], None]] = {
    "delete": _delete,
    "directory": _directory,
    "file": _file,
    "dangling": _dangling,
    "loop": _loop,
    "from": _from,
    "swap": _swap,
}


# -- all the cases -----------------------------------------------------------------------------


class Cases:
    """Enumerates the cases of the databases below ``templates``."""

    def __init__(self, templates: Path, seed: int) -> None:
        self.seed = seed
        self.templates = templates
        self._files = {t.name: _content(t) for t in templates.iterdir()}

    def all(self) -> Iterator[Case]:
        found = (case for template in ("closed", "killed") for case in self._of(template))
        yield from dict.fromkeys(found)

    def _of(self, template: str) -> Iterator[Case]:
        for name in self._files[template]:
            rng = np.random.default_rng([self.seed, zlib.crc32(f"{template}/{name}".encode())])
            share = self._share(template, name)
            for case in self._of_file(template, name, rng):
                most = case.mode == "read" and case.damage in ("flip", "cut")
                if not most or rng.random() < share:
                    yield case
        root = self.templates / template
        directories = [p.relative_to(root).as_posix() for p in root.rglob("*") if p.is_dir()]
        for name in sorted(directories):
            yield from self._of_directory(template, name, sorted(directories))

    def _share(self, template: str, name: str) -> float:
        """How many of all bytes and lengths are tried. All, but of files that are read just as
        another one: those of a second segment, those that the two databases have in common, and
        those whose kind is tried in another collection."""
        data = self._files[template][name]
        if template == "killed" and self._files["closed"].get(name) == data:
            return 0.02
        if kind_of(name) == "lock.mdb":
            return 0.2
        collection, _, segment = name.partition("/segments/")
        if collection.split("/")[1:2] and collection.split("/")[1] not in EXHAUSTIVE[kind_of(name)]:
            return 0.1
        if segment:
            first = min(f for f in self._files[template] if f.startswith(f"{collection}/segments/"))
            if PurePosixPath(first).parent != PurePosixPath(name).parent:
                return 0.1
        return 1.0

    def _of_file(self, template: str, name: str, rng: np.random.Generator) -> Iterator[Case]:
        data = self._files[template][name]
        flips = [("flip", at, bit) for at, bit in _bits(name, data, rng, self.seed)]
        cuts = [("cut", length) for length in _lengths(len(data), rng) if length]
        grown = [(how, count) for how in ("zeros", "garbage") for count in GROWTH]
        pages = [
            ("wipe", at, PAGE) for at in range(0, len(data), PAGE) if any(data[at : at + PAGE])
        ]
        offsets = rng.integers(0, max(1, len(data) - 16), size=24).tolist()
        bursts = [("noise", at, int(rng.integers(2, 512))) for at in offsets]
        names = [(how,) for how in ("empty", "delete", "directory", "dangling", "loop")]
        all_of_them: list[tuple[Any, ...]] = [*flips, *cuts, *grown, *pages, *bursts, *names]
        for how, *arguments in all_of_them:
            yield _case(template, "read", name, how, *arguments)
        for source, other in self._others(template, name):
            if self._files[source][other] != data:
                yield _case(template, "read", name, "from", source, other)
            if source == template:
                yield _case(template, "read", name, "swap", other)
        if template == "closed" and "/segments/" in name:
            yield from self._while_open(name, data, rng)
        if template == "closed" and kind_of(name) == "data.mdb":
            yield from self._before_a_commit(name, data, rng)

    def _while_open(self, name: str, data: bytes, rng: np.random.Generator) -> Iterator[Case]:
        """Damage under a running process, and damage that a build could copy."""
        for how in ("delete", "directory"):
            yield _case("closed", "live", name, how)
        offsets = {*rng.integers(0, len(data), size=40).tolist(), 0, 63, 64, len(data) - 1}
        if kind_of(name) == "payload-edits":  # a build copies what was not verified when opened
            for at in sorted(offsets)[::4]:
                yield _case("closed", "build", name, "flip", at, int(rng.integers(8)))
        if kind_of(name) not in ("vectors", "codes", "sketch", "column", "payload", "seqs"):
            return  # verified when opened: later damage is seen by the next open
        for at in sorted(offsets):
            yield _case("closed", "live", name, "flip", at, int(rng.integers(8)))
        for at in _pages(data):
            yield _case("closed", "live", name, "wipe", at, PAGE)
        if kind_of(name) not in (
            "codes",
            "sketch",
            "column",
        ):  # which a build makes anew, without a look at the old ones
            for at in sorted(offsets)[::4]:
                yield _case("closed", "build", name, "flip", at, int(rng.integers(8)))

    def _before_a_commit(self, name: str, data: bytes, rng: np.random.Generator) -> Iterator[Case]:
        """Damage of an open catalog: in the numbers and flags of its trees, and anywhere in use."""
        used, meta = read_catalog(data).used, newest_meta(data)
        offsets = rng.choice([n for n in range(len(data)) if used[n]], size=40)
        for at in sorted({*range(meta + 40, meta + 152, 4), *offsets.tolist()}):
            yield _case("closed", "live", name, "flip", at, int(rng.integers(8)))
        for bit in range(8):
            yield _case("closed", "live", name, "flip", meta + 92, bit)

    def _others(self, template: str, name: str) -> Iterator[tuple[str, str]]:
        """Files that could be mistaken for this one: (database, name)."""
        kind, parent = kind_of(name), PurePosixPath(name).parent
        others = [f for f in self._files[template] if f != name]
        same_kind = [f for f in others if kind_of(f) == kind]
        yield from ((template, f) for f in same_kind)
        if kind.startswith("FORMAT"):
            yield from (
                (template, f) for f in others if f.endswith("FORMAT") and f not in same_kind
            )
        if parent.parent.name == "segments":
            neighbours = [f for f in others if PurePosixPath(f).parent == parent]
            yield from ((template, f) for f in neighbours if f not in same_kind)
        for source in ("other", *OLDER[template]):
            files = self._files[source]
            if name in files:
                yield source, name
            elif kind == "wal":  # its older copy had another name
                yield from ((source, f) for f in files if PurePosixPath(f).parent == parent)

    def _of_directory(self, template: str, name: str, directories: list[str]) -> Iterator[Case]:
        for how in ("delete", "directory", "file", "dangling", "loop"):
            yield _case(template, "read", name, how)
        for other in directories:
            if kind_of(other) == kind_of(name) and other > name:
                yield _case(template, "read", name, "swap", other)
        for source in ("other", *OLDER[template]):
            theirs = self._below(source, name)
            if name != "collections" and theirs and theirs != self._below(template, name):
                yield _case(template, "read", name, "from", source, name)

    def _below(self, template: str, name: str) -> dict[str, bytes]:
        files = self._files[template].items()
        return {file: data for file, data in files if file.startswith(f"{name}/")}


def _content(root: Path) -> dict[str, bytes]:
    files = sorted(path for path in root.rglob("*") if path.is_file())
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in files}


def _case(template: str, mode: str, path: str, damage: str, *arguments: object) -> Case:
    return Case(template, mode, path, damage, tuple(map(str, arguments)))


def _pages(data: bytes) -> list[int]:
    """Where pages begin that are not all zeros."""
    return [at for at in range(0, len(data), PAGE) if any(data[at : at + PAGE])]


def _bits(name: str, data: bytes, rng: np.random.Generator, seed: int) -> Iterator[tuple[int, int]]:
    """(byte, bit) of single-bit flips: a bit of every byte that is tried, another with another
    seed; two of headers and footers; all eight of a catalog's meta page."""
    footer = 24 + 8 * -(-len(data) // 65536)
    ends = {*range(min(64, len(data))), *range(max(0, len(data) - footer), len(data))}
    elsewhere = set(rng.integers(0, max(1, len(data)), size=ELSEWHERE).tolist())
    if name.endswith("data.mdb"):
        used, meta = read_catalog(data).used, newest_meta(data)
        ends = {n for n in range(len(data)) if used[n]}
        for at in range(meta, meta + 160):
            yield from ((at, bit) for bit in range(8))
    offsets = range(len(data)) if len(data) <= SMALL else sorted(ends | elsewhere)
    for at in offsets:
        yield at, (at + seed) % 8
        if at in ends:
            yield at, (at + seed + 3) % 8


def _lengths(size: int, rng: np.random.Generator) -> list[int]:
    if size <= SMALL:
        return list(range(size))
    random = rng.integers(0, size, size=ELSEWHERE).tolist()
    return sorted({*range(0, 128, 8), *range(size - 128, size), *range(0, size, PAGE), *random})


def clone(template: Path, root: Path, names: Collection[str], private: Collection[str]) -> None:
    """A copy of a database with these collections. Files that are only ever replaced, unless they
    are ``private``, share their bytes with it."""
    root.mkdir()
    for directory, directories, files in os.walk(template):
        relative = "" if directory == str(template) else os.path.relpath(directory, template)
        here = os.path.join(root, relative)
        if relative == "collections":
            directories[:] = names
        for name in directories:
            os.mkdir(os.path.join(here, name), 0o700)
        for name in files:
            source, target = os.path.join(directory, name), os.path.join(here, name)
            if name in ("LOCK", "data.mdb", "lock.mdb") or os.path.join(relative, name) in private:
                shutil.copyfile(source, target)
            else:
                os.link(source, target)

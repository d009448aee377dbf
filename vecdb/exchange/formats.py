"""The formats of files, by their names and by how the names of files end."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from msgspec import Struct

from vecdb.errors import InvalidInputError, NotFoundError
from vecdb.exchange import hdf5, json_lines, matrix, parquet, safetensors
from vecdb.exchange.columns import Source, Tick, Whole
from vecdb.exchange.extras import library


class Format(Struct, frozen=True):
    """How points are read from a file and written to one."""

    name: str
    suffixes: tuple[str, ...]
    others: tuple[str, ...]
    """Endings of files that are read only."""
    open: Callable[[Path], Source]
    write: Callable[[Whole, Path, Tick], None]
    one_vector: bool = False
    """Whether it has room for the vectors of one name only, which every point must have."""
    needs: tuple[str, str] | None = None
    """A library, and the extra that installs it."""


FORMATS = (
    Format("jsonl", (".jsonl", ".ndjson"), (), json_lines.JsonLines, json_lines.write),
    Format(
        "parquet",
        (".parquet", ".pq"),
        (),
        parquet.Parquet,
        parquet.write,
        needs=("pyarrow", "arrow"),
    ),
    Format("npy", (".npy",), (), matrix.open_npy, matrix.write_npy, True),
    Format("fvecs", (".fvecs",), (".bvecs", ".ivecs"), matrix.open_vecs, matrix.write_fvecs, True),
    Format("fbin", (".fbin",), (".u8bin", ".i8bin"), matrix.open_bin, matrix.write_fbin, True),
    Format("hdf5", (".hdf5", ".h5"), (), hdf5.Hdf5, hdf5.write, True, ("h5py", "hdf5")),
    Format("safetensors", (".safetensors",), (), safetensors.Safetensors, safetensors.write),
)
NAMES = tuple(each.name for each in FORMATS)


def format_of(path: Path, name: str | None, *, to_write: bool = False) -> Format:
    """The format of this name; None: what the name of the file says. Raises InvalidInputError, also
    if the library that it needs is missing."""
    for each in FORMATS:
        suffixes = each.suffixes if to_write else (*each.suffixes, *each.others)
        if name == each.name or (name is None and path.suffix in suffixes):
            if each.needs is not None:
                library(*each.needs)
            return each
    if name is not None:
        raise InvalidInputError(f"format: expected one of {', '.join(NAMES)}, got {name!r}")
    known = ", ".join(each.suffixes[0] for each in FORMATS)
    raise InvalidInputError(f"{path}: expected a name that ends in {known}, or a format")


def open_source(path: Path, name: str | None) -> Source:
    """Open a file of points. Raises NotFoundError, InvalidInputError."""
    if not path.is_file():
        raise NotFoundError(f"{path}: there is no such file")
    return format_of(path, name).open(path)

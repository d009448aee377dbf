"""What formats of bare arrays cannot hold, in files beside them: ids, payloads, configuration.

Beside ``base.fvecs`` stand ``base.fvecs.ids.npy``, ``base.fvecs.payload.jsonl`` and
``base.fvecs.collection.json``. Any of them may be missing.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from vecdb.errors import InvalidInputError
from vecdb.exchange.columns import (
    ROWS,
    PointId,
    Whole,
    array_of_ids,
    config_of_text,
    ids_of_array,
    json_of,
    payload_of,
    source_error,
    text_of_config,
)
from vecdb.exchange.npy_head import npy_head
from vecdb.models import CollectionConfig, Payload
from vecdb.storage import fs

IDS = ".ids.npy"
PAYLOAD = ".payload.jsonl"
CONFIG = ".collection.json"


def files(path: Path) -> list[Path]:
    """What may stand beside a file."""
    return [_named(path, suffix) for suffix in (IDS, PAYLOAD, CONFIG)]


def write_config(whole: Whole, path: Path) -> None:
    """Write the configuration of the collection beside a file."""
    fs.write_file(_named(path, CONFIG), text_of_config(whole.config).encode() + b"\n")


def write_ids_and_payloads(whole: Whole, path: Path) -> None:
    """Write ids, and payloads if they are wanted, beside a file."""
    dtype = array_of_ids([], numbers=whole.numbers).dtype
    ids = fs.AppendFile(_named(path, IDS))
    try:
        ids.append([npy_head((whole.count,), dtype)])
        for columns in whole.columns(ROWS, names=[], with_payload=False):
            ids.append([array_of_ids(columns.ids, numbers=whole.numbers)])
        ids.sync()
    finally:
        ids.close()
    if not whole.with_payload:
        return
    payloads = fs.AppendFile(_named(path, PAYLOAD))
    try:
        for columns in whole.columns(ROWS, names=[]):
            payloads.append([b"".join(json_of(p) + b"\n" for p in columns.payloads or ())])
        payloads.sync()
    finally:
        payloads.close()


def read_config(path: Path) -> CollectionConfig | None:
    """The configuration that stands beside a file. Raises InvalidInputError."""
    file = _named(path, CONFIG)
    return config_of_text(file.read_bytes(), str(file)) if file.exists() else None


def read_ids(path: Path, count: int) -> npt.NDArray[Any] | None:
    """The ids that stand beside a file of so many rows. Raises InvalidInputError."""
    file = _named(path, IDS)
    if not file.exists():
        return None
    try:
        array: npt.NDArray[Any] = np.load(file, mmap_mode="r")
    except (ValueError, EOFError) as error:
        raise source_error(file, error) from None
    if array.shape != (count,):
        raise InvalidInputError(f"{file}: expected {count} ids, got shape {array.shape}")
    ids_of_array(array[:1], str(file))
    return array


def read_payloads(path: Path) -> Iterator[Payload | None] | None:
    """The payloads that stand beside a file, one a line."""
    file = _named(path, PAYLOAD)
    return _payloads(file) if file.exists() else None


def require_payloads(path: Path, count: int) -> None:
    """Raise InvalidInputError unless there are payloads for so many rows, or none at all: one too
    many, and those behind it would be other points'."""
    file = _named(path, PAYLOAD)
    if not file.exists():
        return
    with open(file, "rb") as lines:
        found = sum(1 for _ in lines)
    if found != count:
        raise InvalidInputError(f"{file}: expected {count} payloads, one a line, got {found}")


def _payloads(path: Path) -> Iterator[Payload | None]:
    with open(path, "rb") as file:
        for number, line in enumerate(file, 1):
            yield payload_of(line, f"{path}, line {number}")


def take_payloads(
    payloads: Iterator[Payload | None], rows: int, path: Path
) -> list[Payload | None]:
    """The next payloads, one a row. Raises InvalidInputError if there are fewer."""
    some = list(islice(payloads, rows))
    if len(some) < rows:
        raise InvalidInputError(f"{_named(path, PAYLOAD)}: expected a line a vector, got fewer")
    return some


def ids_or_numbers(ids: npt.NDArray[Any] | None, start: int, stop: int) -> list[PointId]:
    """The ids of some rows; their numbers, if there are no ids."""
    if ids is None:
        return list(range(start, stop))
    return ids_of_array(np.asarray(ids[start:stop]), "ids")


def _named(path: Path, suffix: str) -> Path:
    return path.with_name(path.name + suffix)

"""HDF5 as the benchmarks of nearest neighbours have it: vectors in ``train``, and a ``distance``.

Beside them are ``ids`` and ``payload``, JSON a row, which such benchmarks do not look at.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from vecdb.errors import InvalidInputError
from vecdb.exchange.columns import (
    ROWS,
    Columns,
    PointId,
    Tick,
    Whole,
    array_of_ids,
    config_of_text,
    floats,
    ids_of_array,
    json_of,
    must_be_matrix,
    must_be_numbers,
    payload_of,
    source_error,
    text_of_config,
    vector_params,
)
from vecdb.exchange.extras import library
from vecdb.models import CollectionConfig, CollectionParams, Distance, Payload, VectorParams
from vecdb.storage import fs
from vecdb.vectors.block import VectorBlock

_DISTANCES = {
    "angular": Distance.COSINE,
    "euclidean": Distance.EUCLID,
    "dot": Distance.DOT,
    "ip": Distance.DOT,
    "manhattan": Distance.MANHATTAN,
}
_WORDS = {distance: word for word, distance in _DISTANCES.items() if word != "ip"}
_CONFIG = "vecdb"


def write(whole: Whole, path: Path, tick: Tick) -> None:
    """Write the vectors of one name, which every point has, ids and payloads."""
    h5py = library("h5py", "hdf5")
    ((name, dim),) = whole.dims.items()
    fs.write_file(path, b"")  # as private as all files are; the library then fills it
    with h5py.File(path, "w") as file:
        file.attrs["distance"] = _WORDS[vector_params(whole.config)[name].distance]
        file.attrs["type"] = "dense"
        file.attrs[_CONFIG] = text_of_config(whole.config)
        train = file.create_dataset("train", (whole.count, dim), np.float32)
        ids = file.create_dataset(
            "ids", (whole.count,), array_of_ids([], numbers=whole.numbers).dtype
        )
        payload = None
        if whole.with_payload:
            payload = file.create_dataset("payload", (whole.count,), h5py.string_dtype())
        at = 0
        for columns in whole.columns(ROWS):
            rows = slice(at, at + len(columns))
            train[rows] = columns.vectors[name].values
            ids[rows] = array_of_ids(columns.ids, numbers=whole.numbers)
            if payload is not None:
                payload[rows] = [json_of(each).decode() for each in columns.payloads or ()]
            at += len(columns)
            tick(len(columns))
    fs.sync_file(path)


class Hdf5:
    """The points of a file: those that a benchmark searches among."""

    def __init__(self, path: Path) -> None:
        """Find the vectors. Raises InvalidInputError."""
        h5py = library("h5py", "hdf5")
        self._path = path
        try:
            self._file = h5py.File(path, "r")
        except OSError as error:
            raise source_error(path, error) from None
        train = self._file.get("train")
        if not isinstance(train, h5py.Dataset):
            raise InvalidInputError(
                f"{path}: expected a dataset 'train', got {', '.join(self._file) or 'none'}"
            )
        self.count, dim = must_be_matrix(train.shape, f"{path}: train")
        must_be_numbers(train.dtype, f"{path}: train")
        for name in ("ids", "payload"):
            if name in self._file and self._file[name].shape != (self.count,):
                raise InvalidInputError(
                    f"{path}: expected {self.count} of {name!r}, got {self._file[name].shape}"
                )
        self.config = self._config(dim)
        name = "" if self.config is None else next(iter(vector_params(self.config)))
        self.dims = {name: dim}

    def _config(self, dim: int) -> CollectionConfig | None:
        """What was exported, or what the benchmark's distance means."""
        attributes = self._file.attrs
        if _CONFIG in attributes:
            return config_of_text(attributes[_CONFIG], str(self._path))
        word = attributes.get("distance")
        distance = _DISTANCES.get(word.decode() if isinstance(word, bytes) else word)
        if distance is None:
            return None
        params = CollectionParams(vectors=VectorParams(size=dim, distance=distance))
        return CollectionConfig(params=params)

    def columns(
        self, rows: int, names: Sequence[str] | None = None, with_payload: bool = True
    ) -> Iterator[Columns]:
        """All points; without ids, they have the numbers of their rows."""
        (name,) = self.dims
        for start in range(0, self.count, rows):
            stop = min(start + rows, self.count)
            vectors = {}
            if names is None or name in names:
                vectors[name] = VectorBlock(floats(self._file["train"][start:stop]))
            yield Columns(
                self._ids(start, stop),
                vectors,
                self._payloads(start, stop) if with_payload else None,
            )

    def _ids(self, start: int, stop: int) -> list[PointId]:
        if "ids" not in self._file:
            return list(range(start, stop))
        return ids_of_array(self._file["ids"][start:stop], f"{self._path}: ids")

    def _payloads(self, start: int, stop: int) -> list[Payload | None] | None:
        if "payload" not in self._file:
            return None
        lines: list[Any] = self._file["payload"][start:stop].tolist()
        return [payload_of(t, f"{self._path}: row {row}") for row, t in enumerate(lines, start)]

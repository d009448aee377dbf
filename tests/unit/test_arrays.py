"""Mapped arrays: rows that are asked for are read ahead."""

from __future__ import annotations

import ctypes
import mmap
import os
import time
from pathlib import Path

import numpy as np
import pytest

from vecdb.storage.arrays import Expected, PlacedArray
from vecdb.storage.builder import DataWriter
from vecdb.storage.format import DataHeader, Kind

ROWS, COLUMNS = 20_000, 64


def write(path: Path) -> Expected:
    """A file of rows, and what it must say of itself."""
    values = np.arange(ROWS * COLUMNS, dtype="<f4").reshape(ROWS, COLUMNS)
    header = DataHeader(Kind.VECTORS, values.dtype, ROWS, COLUMNS, bytes(16), 1)
    writer = DataWriter(path, header)
    writer.append(values)
    return Expected(bytes(16), 1, Kind.VECTORS, writer.finish())


@pytest.fixture
def expected(tmp_path: Path) -> Expected:
    return write(tmp_path / "vectors")


@pytest.fixture
def placed(tmp_path: Path, expected: Expected) -> PlacedArray:
    return PlacedArray(tmp_path / "vectors", expected, "cached")


def resident(placed: PlacedArray, rows: np.ndarray) -> int:
    """How many of the rows' first pages are in memory."""
    libc = ctypes.CDLL(None, use_errno=True)
    state = ctypes.c_ubyte()
    base = placed.array.ctypes.data
    count = 0
    for row in rows.tolist():
        page = (base + row * COLUMNS * 4) // mmap.PAGESIZE * mmap.PAGESIZE
        assert libc.mincore(ctypes.c_void_p(page), ctypes.c_size_t(1), ctypes.byref(state)) == 0
        count += state.value & 1
    return count


@pytest.mark.skipif(not hasattr(os, "posix_fadvise"), reason="needs Linux")
def test_rows_that_are_asked_for_are_read_ahead(disk: Path) -> None:
    placed = PlacedArray(disk / "vectors", write(disk / "vectors"), "cached")
    rows = np.arange(0, ROWS, 1000)
    with open(placed.path, "rb") as file:
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    if resident(placed, rows) > 2:
        pytest.skip("this file system keeps pages whatever is advised")
    placed.waits = False
    placed.ask_for(rows)
    assert resident(placed, rows) <= 2
    placed.waits = True
    placed.ask_for(rows)
    for _ in range(500):
        if resident(placed, rows) == len(rows):
            break
        time.sleep(0.01)
    assert resident(placed, rows) == len(rows)


def test_the_last_row_can_be_asked_for(placed: PlacedArray) -> None:
    placed.ask_for(np.array([0, ROWS - 1]))
    assert placed.verify_rows(np.array([ROWS - 1]))[-1, -1] == ROWS * COLUMNS - 1


def test_asking_in_anonymous_memory_does_nothing(tmp_path: Path, expected: Expected) -> None:
    anonymous = PlacedArray(tmp_path / "vectors", expected, "pinned")
    assert not anonymous.waits
    anonymous.ask_for(np.array([0]))

"""What every test may use. A database opened with ``open_db`` is closed and checked at the end."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import settings
from oracle import SCALE, require_sound

from vecdb import VecDB

# The same examples every time; a longer run looks for new ones, and prints what replays them.
settings.register_profile(
    "vecdb", derandomize=SCALE == 1, deadline=None, print_blob=True, database=None
)
settings.load_profile("vecdb")

# A shell's background job ignores Ctrl-C, and so would every process that a test starts.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture
def db_path(tmp_path: Path) -> Path:
    """Where a database may be made."""
    return tmp_path / "db"


@pytest.fixture
def open_db(db_path: Path) -> Iterator[Callable[..., VecDB]]:
    """``open_db(path=db_path, **options)``: any number of times. At the end all are closed and
    what they left on disk is checked, byte by byte."""
    opened: list[VecDB] = []

    def open_(path: Any = db_path, **options: Any) -> VecDB:
        opened.append(VecDB(path, **options))
        return opened[-1]

    yield open_
    for db in opened:
        db.close()
    for path in {db.path for db in opened}:
        if path.exists():
            require_sound(path)


@pytest.fixture
def rng() -> np.random.Generator:
    """Random numbers, the same in every run."""
    return np.random.default_rng(20_240_229)


@pytest.fixture
def make_vectors(rng: np.random.Generator) -> Callable[..., npt.NDArray[np.float32]]:
    """``make_vectors(n, dim=16)``: normal ``float32 (n, dim)``."""
    return lambda n, dim=16: rng.standard_normal((n, dim)).astype(np.float32)

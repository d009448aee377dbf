"""What every test may use. A database opened with ``open_db`` is closed and checked at the end."""

from __future__ import annotations

import os
import re
import shutil
import signal
import sys
import tempfile
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import settings

from proofs.model.oracle import SCALE, require_sound
from vecdb import VecDB

# Real embeddings do not come with the sources: their tests are run where they are found.
_REAL_DATA = Path(os.environ.get("VECDB_DATA", Path(__file__).parents[2] / "shared" / "data"))
collect_ignore = [] if _REAL_DATA.is_dir() else ["features/test_real_data.py"]

# What a machine may not have. Any other skip is a failure: it would say nothing of what it skips on
# all machines alike.
_MAY_SKIP = re.compile(
    "takes another user"  # root
    "|needs Linux|reads /proc|these are x86 processors|this processor cannot run"
    "|the temporary directory is not on a disk|this file system keeps pages"
    "|no control group"
    "|strace|systemd-analyze|needs the network"
    "|no kernels compiled ahead of time"
    "|: not here"  # of several sets of real data
)

# Databases of tests are in memory where the system has room for them: half of the time of a run was
# spent waiting for a disk to sync, which no assertion notices. `TMPDIR=/var/tmp pytest` has them on
# a disk. A container may have 64 MB there.
_MEMORY = Path("/dev/shm")
if "TMPDIR" not in os.environ and _MEMORY.is_dir() and shutil.disk_usage(_MEMORY).free >= 1 << 30:
    os.environ["TMPDIR"] = str(_MEMORY)  # for the processes that tests start, too
    tempfile.tempdir = None  # pytest has asked for it already

# Bytecode is kept whatever the environment says, as numba keeps what it compiles: hundreds of
# processes that tests start would each compile all of vecdb, and take twice as long.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False

# The same examples every time; a longer run looks for new ones, and prints what replays them.
settings.register_profile(
    "vecdb", derandomize=SCALE == 1, deadline=None, print_blob=True, database=None
)
settings.load_profile("vecdb")

# A shell's background job ignores Ctrl-C, and so would every process that a test starts.
signal.signal(signal.SIGINT, signal.default_int_handler)


def _only_allowed_skips(report: Any) -> Any:
    if report.skipped and not hasattr(report, "wasxfail"):
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
        if not _MAY_SKIP.search(reason):
            report.outcome = "failed"
            report.longrepr = f"{reason}: not among the reasons to skip in tests/conftest.py"
    return report


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, Any, Any]:
    """A test that was skipped for a reason that is not allowed has failed."""
    return _only_allowed_skips((yield))


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Generator[None, Any, Any]:
    """So has a module."""
    return _only_allowed_skips((yield))


@pytest.fixture
def db_path(tmp_path: Path) -> Path:
    """Where a database may be made."""
    return tmp_path / "db"


@pytest.fixture
def db() -> Iterator[VecDB]:
    """A temporary database."""
    with VecDB() as db:
        yield db


@pytest.fixture(scope="module")
def disk() -> Iterator[Path]:
    """A directory on a disk, for what memory does not do."""
    with tempfile.TemporaryDirectory(prefix="vecdb-test-", dir="/var/tmp") as path:
        yield Path(path)


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

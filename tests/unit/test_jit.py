"""Kernels work where numba has no place for its cache, or finds it broken."""

from __future__ import annotations

import importlib.util
import logging
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import vecdb

MODULE = """
from numba.core import types
from vecdb.kernels.jit import njit

@njit(types.int64(types.int64), nogil=True, cache=True)
def doubled(value):
    return 2 * value
"""


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A module with a kernel, and no directory that numba could write to. Root may write anywhere:
    a file stands where each of them would be."""
    import numba

    from vecdb.kernels import jit

    (tmp_path / "file").touch()
    (tmp_path / "__pycache__").touch()
    (tmp_path / "kernel.py").write_text(MODULE)
    monkeypatch.setattr(jit, "unkept", [])
    monkeypatch.setattr(numba.config, "CACHE_DIR", "")
    for name in ("HOME", "XDG_CACHE_HOME"):
        monkeypatch.setenv(name, str(tmp_path / "file" / "home"))
    return tmp_path


def load(place: Path) -> Any:
    """The kernel, as a new process would get it."""
    spec = importlib.util.spec_from_file_location("kernel", place / "kernel.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.doubled


def test_without_a_directory_kernels_are_compiled_in_memory(
    place: Path, caplog: pytest.LogCaptureFixture
) -> None:
    from vecdb.kernels import jit

    with caplog.at_level(logging.WARNING, "vecdb"):
        assert [load(place)(21), load(place)(4)] == [42, 8]
    assert jit.unkept == ["kernel.doubled"] * 2
    [said] = caplog.records
    assert "NUMBA_CACHE_DIR" in said.getMessage()
    assert "no locator available" in said.getMessage()


def test_with_a_directory_nothing_is_said(place: Path, caplog: pytest.LogCaptureFixture) -> None:
    from vecdb.kernels import jit

    (place / "__pycache__").unlink()
    for _ in range(2):
        assert load(place)(21) == 42
    assert not jit.unkept
    assert not caplog.records


@pytest.mark.parametrize("cut", ["*.nbi", "*.nbc"])
def test_a_cache_cut_short_is_done_without(
    place: Path, caplog: pytest.LogCaptureFixture, cut: str
) -> None:
    """As a power loss leaves it. It raised EOFError at every search, in every process."""
    (place / "__pycache__").unlink()
    assert load(place)(21) == 42
    [file] = place.glob(f"__pycache__/{cut}")
    os.truncate(file, 0)
    assert load(place)(21) == 42
    assert "EOFError" in caplog.text


def test_a_full_disk_is_no_reason_not_to_search(
    place: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    import numba

    if not os.path.exists("/dev/full"):
        pytest.fail("takes /dev/full")
    cache = place / "cache"
    monkeypatch.setattr(numba.config, "CACHE_DIR", str(cache))
    monkeypatch.setattr("builtins.open", _full(cache))
    assert load(place)(21) == 42
    assert "No space left" in caplog.text


def _full(below: Path) -> Any:
    """``open``, but what is written below a directory goes to a device without space."""
    plain = open

    def opened(file: Any, mode: str = "r", *rest: Any, **named: Any) -> Any:
        if "w" in mode and str(file).startswith(str(below)):
            return plain("/dev/full", mode, 0)
        return plain(file, mode, *rest, **named)

    return opened


SEARCH = """
import logging, sys, numpy as np, vecdb
logging.basicConfig()
vectors = np.random.default_rng(0).normal(size=(1100, 4096)).astype(np.float32)
with vecdb.VecDB(":memory:") as db:
    db.create_collection("c", {"size": 4096, "distance": "Cosine"})
    db.upsert("c", vecdb.models.Batch(ids=np.arange(1100), vectors=vectors))
    print([hit.id for hit in db.search("c", vectors[7], limit=1)])
assert "numba" in sys.modules
"""


def test_a_user_without_a_home_searches_a_package_that_nobody_may_write(tmp_path: Path) -> None:
    """It raised RuntimeError, and no index was built."""
    package = tmp_path / "vecdb"
    source = Path(vecdb.__file__).parent
    for path in source.rglob("*.py"):
        copy = package / path.relative_to(source)
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_bytes(path.read_bytes())
        (copy.parent / "__pycache__").touch()
    gone = ("NUMBA_CACHE_DIR", "XDG_CACHE_HOME")
    environment = {name: value for name, value in os.environ.items() if name not in gone}
    environment |= {"HOME": "/proc/1/none", "PYTHONPATH": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", SEARCH], env=environment, cwd="/", text=True, capture_output=True
    )
    assert (done.returncode, done.stdout) == (0, "[7]\n"), done.stderr
    assert done.stderr.count("are not kept") == 1

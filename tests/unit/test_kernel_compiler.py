"""The build's compiler refuses what a library must not have: names that nobody provides, exceptions
that nobody reads."""

from __future__ import annotations

import importlib.machinery
import importlib.util
import os
import platform
import shutil
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kernel_compiler import building, exceptions, linking

ROOT = Path(__file__).parent.parent.parent

EMIT = """
import sys
from pathlib import Path
from kernel_compiler import library
Path(sys.argv[2]).write_bytes(library.emit(Path(sys.argv[1]), "", ""))
"""
HEAD = """
import math
import numpy as np
from numba.core import types
from vecdb.kernels.compiling import njit
from vecdb.kernels.signatures import *
f64 = types.float64
"""


def emit(tmp_path: Path, kernel: str) -> tuple[subprocess.CompletedProcess[str], Path]:
    """Compile one kernel with what all need."""
    sources = tmp_path / "vecdb" / "kernels"
    sources.mkdir(parents=True)
    kernels = ROOT / "vecdb" / "kernels"
    for name in ("__init__", "compiling", "jit", "library", "processors", "signatures"):
        shutil.copy(kernels / f"{name}.py", sources)
    (sources / "own.py").write_text(HEAD + kernel)
    done = subprocess.run(
        [sys.executable, "-c", EMIT, sources, tmp_path / "own.o"],
        env={
            **os.environ,
            "PYTHONPATH": str(ROOT),
            "VECDB_KERNELS": "jit",
            "NUMBA_CACHE_DIR": str(tmp_path / "cache"),
        },
        capture_output=True,
        text=True,
        timeout=200,
    )
    return done, tmp_path / "own.o"


def test_a_kernel_becomes_a_function_of_a_library(tmp_path: Path) -> None:
    done, objects = emit(
        tmp_path,
        """
@njit(types.Tuple((i64, f32, f64))(floats_2, f32, f64, out_ints_1), nogil=True)
def all_kinds(rows, single, double, out):
    copy = np.empty(rows.shape[1], np.float32)
    for j in range(copy.shape[0]):
        copy[j] = rows[1, j]
    out[0] = rows.shape[0]
    return rows.shape[1], copy[2] * single, double / 3

@njit(f64(i64))
def kept(number):
    return 1.0 / number
""",
    )
    assert done.returncode == 0, done.stderr
    if linking.compiler() is None:
        pytest.fail("takes a C compiler")
    linking.link(objects, tmp_path / "own.so", platform.machine())
    own = load(tmp_path / "own.so")
    out = np.zeros(1, np.int64)
    rows = np.arange(6, dtype=np.float32).reshape(2, 3)
    assert getattr(own, "own.all_kinds")(rows, 0.5, 4.5, out) == (3, 2.5, 1.5)
    assert out.tolist() == [2]
    assert getattr(own, "own.kept")(4) == 0.25
    with pytest.raises(ZeroDivisionError, match="division by zero"):
        getattr(own, "own.kept")(0)
    with pytest.raises(TypeError, match="must be real number"):
        getattr(own, "own.all_kinds")(rows, "x", 4.5, out)


def test_threads_run_beside_a_kernel_and_take_turns_with_short_ones(tmp_path: Path) -> None:
    done, objects = emit(
        tmp_path,
        """
@njit(i64(i64), nogil=True)
def mixed(turns):
    number = np.int64(88172645463325252)
    for _ in range(turns):
        number ^= number << np.int64(13)
        number ^= number >> np.int64(7)
        number ^= number << np.int64(17)
    return number
""",
    )
    assert done.returncode == 0, done.stderr
    linking.link(objects, tmp_path / "own.so", platform.machine())
    mixed = getattr(load(tmp_path / "own.so"), "own.mixed")
    before = sys.getswitchinterval()
    steps: list[str] = []
    seen = set()

    def long_one() -> None:
        steps.append("in")
        mixed(1 << 27)
        steps.append("out")

    sys.setswitchinterval(1000)  # a thread that keeps the lock keeps it to the end
    try:
        thread = threading.Thread(target=long_one)
        thread.start()
        while thread.is_alive():
            seen.add(len(steps))
            time.sleep(0)  # lets the other have it
        thread.join()
    finally:
        sys.setswitchinterval(before)
    assert 1 in seen, "nobody ran while the kernel did"

    many = [*range(200)] * 20
    expected = [mixed(turns) for turns in many]
    with ThreadPoolExecutor(4) as pool:
        for found in pool.map(lambda _: [mixed(turns) for turns in many], range(8)):
            assert found == expected


def load(path: Path) -> Any:
    loader = importlib.machinery.ExtensionFileLoader("own._compiled", str(path))
    spec = importlib.util.spec_from_file_location("own._compiled", path, loader=loader)
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    loader.exec_module(module)
    return module


def test_a_name_that_nobody_provides_is_noticed(tmp_path: Path) -> None:
    """As a line drags it in: here the tangent, of a libm that may be another one."""
    done, objects = emit(
        tmp_path,
        """
@njit(f64(f64), nogil=True)
def steep(angle):
    return math.tan(angle)
""",
    )
    assert "Undefined: kernels need tan" in done.stderr
    assert not objects.exists()


def test_an_exception_that_nobody_knows_is_noticed(tmp_path: Path) -> None:
    done, objects = emit(
        tmp_path,
        """
@njit(i64(i64), nogil=True)
def doubtful(number):
    if number > 7:
        raise OverflowError("too many")
    return number
""",
    )
    assert "Unknown: kernels may raise OverflowError: too many" in done.stderr
    assert not objects.exists()


def test_a_pickle_that_was_not_replaced_is_noticed() -> None:
    with pytest.raises(exceptions.Unknown, match="a pickle was not replaced"):
        exceptions.as_text('@.const.pickledata.1a2b.x = constant [2 x i8] c"\\80\\04"')


def test_the_build_compiles_for_every_processor_of_a_machine() -> None:
    every = building.processors("x86_64", this_one=False)
    assert [processor.name for processor in every] == ["avx512", "avx2", "sse4"]
    assert [p.name for p in building.processors("aarch64", this_one=False)] == ["neon"]
    assert len(building.processors(platform.machine(), this_one=True)) <= 1


def test_what_is_not_compiled_leaves_what_was_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A kernel that does not compile took all libraries with it."""
    (tmp_path / "avx2-of-other-sources.so").touch()
    failing = [sys.executable, "-c", "import sys; sys.exit('it does not compile')"]

    def compile_nothing(processor: Any, work: Path) -> subprocess.Popen[str]:
        return subprocess.Popen(failing, stderr=subprocess.PIPE, text=True)

    monkeypatch.setattr(building, "_compile", compile_nothing)
    with pytest.raises(RuntimeError, match="it does not compile"):
        building.build(building.processors("x86_64", this_one=False), tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["avx2-of-other-sources.so"]


def test_libraries_take_the_place_of_those_of_other_sources(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("avx2-of-other-sources.so", "sse4-of-others.so"):
        (tmp_path / name).touch()

    def compile_something(processor: Any, work: Path) -> subprocess.Popen[str]:
        (work / f"{processor.name}.o").write_text(processor.name)
        return subprocess.Popen([sys.executable, "-c", ""], stderr=subprocess.PIPE, text=True)

    monkeypatch.setattr(building, "_compile", compile_something)
    monkeypatch.setattr(linking, "link", lambda objects, to, machine: shutil.copy(objects, to))
    made = building.build(building.processors("x86_64", this_one=False), tmp_path)
    assert sorted(tmp_path.iterdir()) == sorted(made)
    assert [path.read_text() for path in made] == ["avx512", "avx2", "sse4"]


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_kernels_compile_for_another_kind_of_machine(tmp_path: Path) -> None:
    other = "neon" if platform.machine() == "x86_64" else "sse4"
    done = subprocess.run(
        [sys.executable, "-m", "kernel_compiler", other, tmp_path / "other.o"],
        env={**os.environ, "PYTHONPATH": str(ROOT), "NUMBA_CACHE_DIR": str(tmp_path / "cache")},
        capture_output=True,
        text=True,
        timeout=580,
    )
    assert done.returncode == 0, done.stderr
    machine = int.from_bytes((tmp_path / "other.o").read_bytes()[18:20], "little")
    assert machine == {"neon": 183, "sse4": 62}[other]  # of ELF: AArch64, x86-64

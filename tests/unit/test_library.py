"""The kernels that were compiled when vecdb was built: which library is taken, what its functions
refuse and raise, and that they do what numba's do.
"""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from vecdb.kernels import compiling, library, processors
from vecdb.kernels.distance import scan
from vecdb.kernels.topk import topk_sort

LIBRARY = compiling.LIBRARY
with_library = pytest.mark.skipif(LIBRARY is None, reason="no kernels compiled ahead of time")
ROOT = Path(__file__).parent.parent.parent


def in_process(
    code: str, timeout: float = 280, **environment: str
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
        capture_output=True,
        text=True,
        timeout=timeout,
    )


# --- which one ------------------------------------------------------------------------------------


def test_a_machine_takes_the_best_that_it_can_run() -> None:
    def names(machine: str, flags: set[str]) -> list[str]:
        return [processor.name for processor in processors.best_of(machine, flags)]

    old, new = (p.flags() for p in processors.PROCESSORS if p.name in ("sse4", "avx512"))
    old, new = sorted((old, new), key=len)
    assert names("x86_64", new | {"sse4a"}) == ["avx512", "avx2", "sse4"]
    assert names("x86_64", new - {"avx512_vnni"}) == ["avx2", "sse4"]
    assert names("x86_64", old) == ["sse4"]
    assert names("x86_64", old - {"ssse3"}) == []
    assert names("aarch64", set()) == ["neon"]
    assert names("riscv64", new) == []


def test_linux_knows_all_features_by_the_names_asked_for() -> None:
    """A wrong name would leave every machine with a slower library."""
    has = processors.machine_features()
    assert has
    if {"avx512_vnni", "avx512_vbmi2", "vaes"} <= has:
        assert processors.best_of("x86_64", has)[0].name == "avx512"
    if {"avx2", "fma", "bmi2"} <= has:
        assert "avx2" in [p.name for p in processors.best_of("x86_64", has)]


@pytest.fixture
def compiled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Sources with a place for libraries, of a machine that runs `avx2` and `sse4`."""
    sources = tmp_path / "kernels"
    (sources / "compiled").mkdir(parents=True)
    (sources / "dot.py").write_text("dot = 1\n")
    monkeypatch.setattr(library, "COMPILED", sources / "compiled")
    monkeypatch.setattr(library, "machine_features", lambda: _AVX2)
    monkeypatch.setattr(library.os, "uname", lambda: os.uname_result(["Linux", *"abc", "x86_64"]))
    monkeypatch.delenv("VECDB_KERNELS", raising=False)
    return sources / "compiled"


_AVX2 = next(p for p in processors.PROCESSORS if p.name == "avx2").flags()


def chosen() -> Path | None:
    return library.path.__wrapped__()


def put(compiled: Path, *names: str) -> None:
    made_of = processors.fingerprint(compiled.parent)
    for name in names:
        (compiled / f"{name}-{made_of}.so").touch()


def test_the_best_that_is_there_is_taken(compiled: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert chosen() is None
    put(compiled, "avx512", "sse4")
    assert str(chosen()).startswith(str(compiled / "sse4-"))
    put(compiled, "avx2")
    assert str(chosen()).startswith(str(compiled / "avx2-"))
    monkeypatch.setenv("VECDB_KERNELS", "sse4")
    assert str(chosen()).startswith(str(compiled / "sse4-"))
    monkeypatch.setenv("VECDB_KERNELS", "jit")
    assert chosen() is None


def test_what_was_asked_for_and_is_not_there_is_refused(
    compiled: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(compiled, "avx512", "sse4")
    monkeypatch.setenv("VECDB_KERNELS", "avx512")
    with pytest.raises(ImportError, match=r"'avx512', but .* this processor runs avx2, sse4"):
        chosen()
    monkeypatch.setenv("VECDB_KERNELS", "avx")
    with pytest.raises(ImportError, match="'avx'; expected one of jit, avx512, avx2, sse4, neon"):
        chosen()


def test_a_library_of_other_sources_is_noticed(
    compiled: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Whoever edits a kernel must not search with the old one."""
    put(compiled, "avx2")
    (compiled.parent / "dot.py").write_text("dot = 2\n")
    with caplog.at_level(logging.WARNING, "vecdb"):
        assert chosen() is None
    assert "compiled from other sources" in caplog.text
    put(compiled, "avx2")
    assert chosen() is not None


def test_files_of_editors_are_no_sources(compiled: Path) -> None:
    """Of a lock file, a link that leads nowhere, every search raised."""
    put(compiled, "avx2")
    (compiled.parent / ".#dot.py").symlink_to("someone@somewhere.1234:1")
    assert chosen() is not None


def test_where_there_is_bytecode_only_the_library_is_what_was_shipped_with_it(
    compiled: Path,
) -> None:
    put(compiled, "avx2")
    (compiled.parent / "dot.py").rename(compiled.parent / "dot.pyc")
    assert str(chosen()).startswith(str(compiled / "avx2-"))
    assert not library.is_stale()


def test_where_there_is_bytecode_only_libraries_of_several_sources_are_not_chosen_from(
    compiled: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The first of them by name was taken, though its kernels might be of an older version."""
    put(compiled, "avx2")
    (compiled.parent / "dot.py").write_text("dot = 2\n")
    put(compiled, "avx2")
    (compiled.parent / "dot.py").rename(compiled.parent / "dot.pyc")
    with caplog.at_level(logging.WARNING, "vecdb"):
        assert chosen() is None
    assert library.is_stale()
    assert "compiled from other sources" in caplog.text


@pytest.mark.parametrize("change", ["implementation", "abi", "numpy"])
def test_another_layout_of_objects_is_not_guessed_at(
    compiled: Path, monkeypatch: pytest.MonkeyPatch, change: str
) -> None:
    put(compiled, "avx2")
    if change == "implementation":
        monkeypatch.setattr(sys.implementation, "name", "pypy")
    elif change == "abi":
        monkeypatch.setattr(sys, "abiflags", "t")
    else:
        monkeypatch.setattr(np, "__version__", "3.0.0")
    assert chosen() is None


@with_library
def test_a_library_that_cannot_be_loaded_is_done_without(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "cut.so").write_bytes(Path(str(library.path())).read_bytes()[:100])
    monkeypatch.setattr(library, "path", lambda: tmp_path / "cut.so")
    with caplog.at_level(logging.WARNING, "vecdb"):
        assert library.load() is None
    assert "cut.so are not used" in caplog.text


@with_library
def test_a_library_that_misreads_arrays_is_done_without(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """As of a numpy that lays them out otherwise: the kernel refuses what it cannot make out."""

    def refused(module: Any) -> None:
        raise TypeError("topk.topk_sort: argument 0 is not ...")

    monkeypatch.setattr(library, "_probe", refused)
    with caplog.at_level(logging.WARNING, "vecdb"):
        assert library.load() is None
    assert "argument 0" in caplog.text


@with_library
def test_its_module_takes_nobodys_name() -> None:
    assert "_compiled" not in sys.modules
    assert LIBRARY is not None
    assert LIBRARY.__name__ == "vecdb.kernels._compiled"


@with_library
def test_a_number_that_resizes_an_array_is_asked_before_the_array_is_read() -> None:
    rows = np.ones((50, 8), np.float32)

    class Number:
        def __index__(self) -> int:
            rows.resize((0, 8), refcheck=False)
            return 0

    scores, found = np.empty(5, np.float32), np.empty(5, np.int64)
    assert scan(0, rows, ROWS[3], NO_MASK, Number(), scores, found, 0) == 0


WITHOUT = """
import sys
class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("numba", "llvmlite"):
            raise ModuleNotFoundError(name)
sys.meta_path.insert(0, Absent())
import numpy as np, vecdb
vectors = np.random.default_rng(0).normal(size=(3000, 64)).astype(np.float32)
with vecdb.VecDB(":memory:") as db:
    db.create_collection("c", {"size": 64, "distance": "Cosine"}, quantization_config={"turbo": {}},
                         optimizers_config={"indexing_threshold": 1})
    db.upsert("c", vecdb.models.Batch(ids=np.arange(3000), vectors=vectors))
    assert db.wait_for_optimizer("c", timeout=200)
    print([hit.id for hit in db.search("c", vectors[7], limit=1)])
"""


@with_library
def test_an_index_is_built_and_searched_without_numba() -> None:
    done = in_process(WITHOUT)
    assert (done.returncode, done.stdout) == (0, "[7]\n"), done.stderr


def test_without_a_library_and_numba_it_is_said_what_to_install() -> None:
    done = in_process(
        WITHOUT.replace("import numpy", "import vecdb.kernels.topk, numpy"), VECDB_KERNELS="jit"
    )
    assert done.returncode == 1
    assert "VECDB_KERNELS is 'jit', but numba" in done.stderr


# --- what is refused ------------------------------------------------------------------------------

ROWS = np.random.default_rng(0).standard_normal((50, 8), dtype=np.float32)
NO_MASK = np.zeros(0, np.uint8)


def arguments() -> list[Any]:
    return [0, ROWS, ROWS[3], NO_MASK, 0, np.empty(5, np.float32), np.empty(5, np.int64), 0]


def read_only(array: Any) -> Any:
    array = array.copy()
    array.flags.writeable = False
    return array


@with_library
@pytest.mark.parametrize(
    ("position", "given", "says"),
    [
        (0, "x", "integer"),
        (0, 1 << 70, "int too big|too large"),
        (0, 1.5, "integer"),
        (1, None, "argument 1 is not a C-contiguous, aligned array of float32 with 2 dimensions"),
        (1, ROWS.tolist(), "argument 1"),
        (1, ROWS.astype(np.float64), "argument 1"),
        (1, ROWS[:, ::2], "argument 1"),
        (1, np.asfortranarray(ROWS), "argument 1"),
        (1, ROWS.astype(">f4"), "argument 1"),
        (1, ROWS[0], "argument 1"),
        (1, np.frombuffer(b"\0" + ROWS.tobytes(), np.float32, 400, 1).reshape(50, 8), "argument 1"),
        (2, ROWS[:1], "argument 2"),
        (3, NO_MASK.astype(np.bool_), "argument 3"),
        (5, read_only(np.empty(5, np.float32)), "argument 5 is not a writable"),
        (6, np.empty(5, np.int32), "argument 6"),
        (6, np.empty(5, np.uint64), "argument 6"),
    ],
)
def test_what_a_kernel_would_misread_is_refused(position: int, given: Any, says: str) -> None:
    call = arguments()
    call[position] = given
    with pytest.raises((TypeError, OverflowError), match=says):
        scan(*call)


@with_library
def test_the_number_of_arguments_is_checked() -> None:
    with pytest.raises(TypeError, match=r"distance.scan takes 8 arguments, not 7"):
        scan(*arguments()[:7])
    with pytest.raises(TypeError, match="8 arguments, not 9"):
        scan(*arguments(), 1)
    with pytest.raises(TypeError, match="keyword"):
        scan(*arguments()[:7], filled=0)


@with_library
@pytest.mark.parametrize("dtype", ["uint8", "uint16", "uint32", "uint64"])
def test_a_kernel_of_several_types_takes_each(dtype: str) -> None:
    from vecdb.kernels.columns import within

    codes = np.arange(70).astype(dtype)
    bits = np.zeros(16, np.uint8)
    within(codes, 3, np.uint64(63), bits)
    found = np.flatnonzero(np.unpackbits(bits, bitorder="little"))
    np.testing.assert_array_equal(found, np.arange(3, 67))
    with pytest.raises(TypeError, match=r"argument 0 is not .*uint8.* or .*uint64"):
        within(codes.astype(np.int64), 3, 66, bits)
    with pytest.raises(OverflowError):
        within(codes, -1, 66, bits)
    with pytest.raises(TypeError):
        within(codes, 1.0, 66, bits)


class Subclass(np.ndarray):
    pass


@with_library
def test_subclasses_scalars_and_read_only_inputs_are_taken() -> None:
    expected = arguments()
    count = scan(*expected)
    given = arguments()
    given[:3] = [np.int64(0), read_only(ROWS).view(Subclass), ROWS[3].view(Subclass)]
    given[4] = np.int32(0)
    given[7] = False
    assert scan(*given) == count == 5
    np.testing.assert_array_equal(given[5], expected[5])
    np.testing.assert_array_equal(given[6], expected[6])


@with_library
def test_arguments_are_neither_kept_nor_lost() -> None:
    call = arguments()
    arrays = [argument for argument in call if isinstance(argument, np.ndarray)]
    before = [sys.getrefcount(array) for array in arrays]
    for _ in range(1000):
        scan(*call)
        with pytest.raises(TypeError):
            scan(*call[:-1], "x")
    assert [sys.getrefcount(array) for array in arrays] == before
    assert topk_sort(call[5], call[6], 5) is None


# --- what is raised -------------------------------------------------------------------------------


@with_library
@pytest.mark.parametrize(
    ("rows", "error", "says"),
    [
        (-5, ValueError, "negative dimensions"),
        (1 << 62, ValueError, "too big"),
        (1 << 45, MemoryError, "Allocation failed"),
    ],
)
def test_exceptions_of_kernels_are_numbas(rows: int, error: type[Exception], says: str) -> None:
    from vecdb.kernels.clustering import fit_chunk

    lanes, centroids = np.zeros((4, 32), np.float32), np.zeros((4, 16), np.float32)
    with pytest.raises(error, match=says):
        fit_chunk(lanes, rows, centroids, 16, 3, 0.0)


# --- what is found --------------------------------------------------------------------------------

FOUND = """
import hashlib, json, sys
import numpy as np
import vecdb
from vecdb import models
from vecdb.kernels import compiling

rng = np.random.default_rng(1)
centers = rng.standard_normal((60, 100))
def draw(n):
    rows = centers[rng.integers(0, 60, n)] + 0.6 * rng.standard_normal((n, 100))
    return rows.astype(np.float32)

rows, queries = draw(6000), draw(40)
found = hashlib.sha256()
kinds = ["turbo", "product", "scalar", "binary", None]
for distance in ("Cosine", "Euclid", "Dot", "Manhattan"):
    for kind in kinds if distance == "Cosine" else kinds[:1]:
        with vecdb.VecDB(":memory:") as db:
            db.create_collection(
                "c", {"size": 100, "distance": distance}, quantization_config=kind and {
                    "turbo": {"turbo": {}}, "binary": {"binary": {}},
                    "product": {"product": {"compression": "x16"}},
                    "scalar": {"scalar": {"type": "int8"}}}[kind],
                optimizers_config={"indexing_threshold": 1, "default_segment_number": 1})
            payloads = [{"n": i % 97} for i in range(len(rows))]
            db.upsert("c", models.Batch(ids=np.arange(len(rows)), vectors=rows, payloads=payloads))
            db.create_payload_index("c", "n", "integer")
            assert db.wait_for_optimizer("c", timeout=250)
            for recall in (0.9, 0.97, None):
                for few in (None, {"must": [{"key": "n", "range": {"lt": 9}}]}):
                    params = models.SearchParams(recall=recall) if recall else None
                    for query in queries:
                        hits = db.search("c", query, few, limit=10, search_params=params)
                        said = json.dumps([(hit.id, hit.score.hex()) for hit in hits])
                        found.update(said.encode())
print(found.hexdigest(), compiling.LIBRARY is not None, "numba" in sys.modules)
"""
WARMUP = "from vecdb.cli.main import main; main(['warmup', '--json'])"


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_warmup_compiles_all_that_searches_take_and_they_find_what_the_librarys_find(
    tmp_path: Path,
) -> None:
    """To the last bit, of kernels compiled for the same processor: sums in wider registers end in
    others. Numba takes minutes for all kernels, so what it has made is looked at from all sides."""
    numbas = {"VECDB_KERNELS": "jit", "NUMBA_CACHE_DIR": str(tmp_path)}
    if LIBRARY is not None:
        name = Path(str(library.path())).name.partition("-")[0]
        [used] = [processor for processor in processors.PROCESSORS if processor.name == name]
        words = [*(f"+{feature}" for feature in used.features), used.tuning]
        numbas["NUMBA_CPU_NAME"] = used.cpu
        numbas["NUMBA_CPU_FEATURES"] = ",".join(filter(None, words))

    first = in_process(WARMUP, timeout=600, **numbas)
    assert (first.returncode, first.stderr) == (0, "")
    report = json.loads(first.stdout)
    assert "distance.scan" in report["compiled"]
    assert not report["cached"] + report["unkept"]
    assert all(path.startswith(str(tmp_path)) for path in report["cache"])
    kept = set(tmp_path.rglob("*.nbc"))
    second = in_process(WARMUP.replace(", '--json'", ""), **numbas)
    assert f"{len(report['compiled'])} kernels were cached" in second.stdout
    assert str(tmp_path) in second.stdout

    found = in_process(FOUND, **numbas)
    assert found.returncode == 0, found.stderr
    assert found.stdout.split()[1:] == ["False", "True"]
    assert set(tmp_path.rglob("*.nbc")) == kept
    if LIBRARY is not None:
        ours = in_process(FOUND)
        assert ours.stdout.split()[1:] == ["True", "False"], ours.stderr
        assert ours.stdout.split()[0] == found.stdout.split()[0]

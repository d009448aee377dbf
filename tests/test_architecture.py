"""What ``docs/architecture.md`` promises about the code, read off the syntax trees.

Import directions, the one door to the disk, where each library may be used, what is loaded when.
A module that breaks a rule is a mistake in the module or a decision to write down there and here.
"""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import types
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from pathlib import Path

import pytest

import vecdb
from vecdb import errors, models

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "vecdb"
FILES = sorted(path for path in PACKAGE.rglob("*.py"))

# Bottom to top. A module may import its own layer (where it is a package) and those listed.
LAYERS: dict[str, set[str]] = {
    "vecdb.kernels": set(),
    "vecdb.errors": set(),
    "vecdb.version": set(),
    "vecdb.linear_algebra": set(),
    "vecdb.ids": {"vecdb.errors"},
    "vecdb.vectors": {"vecdb.errors", "vecdb.linear_algebra"},
    "vecdb.models": {"vecdb.errors", "vecdb.ids"},
    "vecdb.quantization": {"vecdb.errors", "vecdb.kernels", "vecdb.linear_algebra"},
    "vecdb.index": {"vecdb.kernels", "vecdb.linear_algebra", "vecdb.vectors"},
    "vecdb.storage": {
        "vecdb.errors",
        "vecdb.ids",
        "vecdb.index",
        "vecdb.quantization",
        "vecdb.vectors",
    },
    "vecdb.payload": {
        "vecdb.errors",
        "vecdb.kernels",
        "vecdb.models",
        "vecdb.storage.format",
    },
    "vecdb.bm25": {"vecdb.models", "vecdb.payload"},
    "vecdb.engine": {
        "vecdb.bm25",
        "vecdb.errors",
        "vecdb.ids",
        "vecdb.index",
        "vecdb.kernels",
        "vecdb.linear_algebra",
        "vecdb.models",
        "vecdb.payload",
        "vecdb.quantization",
        "vecdb.storage",
        "vecdb.vectors",
    },
}
LAYERS["vecdb.qdrant_arguments"] = {"vecdb.errors"}
LAYERS["vecdb.writing"] = {
    *LAYERS["vecdb.engine"],
    "vecdb.engine",
    "vecdb.qdrant_arguments",
}
LAYERS["vecdb.querying"] = {*LAYERS["vecdb.writing"], "vecdb.writing"}
LAYERS["vecdb.collection"] = {*LAYERS["vecdb.querying"], "vecdb.querying"}
LAYERS["vecdb.writing_verbs"] = {*LAYERS["vecdb.collection"], "vecdb.collection"}
LAYERS["vecdb.querying_verbs"] = {*LAYERS["vecdb.writing_verbs"], "vecdb.writing_verbs"}
LAYERS["vecdb.verbs"] = {*LAYERS["vecdb.querying_verbs"], "vecdb.querying_verbs"}
LAYERS["vecdb.database"] = {*LAYERS["vecdb.verbs"], "vecdb.verbs", "vecdb.version"}
# Qdrant's client on the public face.
LAYERS["vecdb.qdrant"] = {
    "vecdb",
    "vecdb.aio",
    "vecdb.database",
    "vecdb.errors",
    "vecdb.models",
}
# Files of other programs and servers, on the public face.
LAYERS["vecdb.exchange"] = {
    "vecdb",
    "vecdb.collection",
    "vecdb.database",
    "vecdb.errors",
    "vecdb.models",
    "vecdb.storage.fs",
    "vecdb.vectors",
}
# A server on the public face.
LAYERS["vecdb.server"] = {"vecdb", "vecdb.errors", "vecdb.models"}
LAYERS["vecdb.aio"] = {*LAYERS["vecdb.database"], "vecdb.database"}
# Programs on top of the public face; nothing imports them but each other.
TOOLS = ("vecdb.__main__", "vecdb.cli")
FACES = ("vecdb.exchange", "vecdb.server")
for tool in TOOLS:
    LAYERS[tool] = {*LAYERS["vecdb.database"], "vecdb.database", "vecdb", *FACES, *TOOLS}
LAYERS["vecdb"] = set(LAYERS) - {*TOOLS, *FACES, "vecdb.qdrant"}

# The rooms of the engine, bottom to top: what of the engine they may import besides themselves and
# the ground, which is what stands in no room. The ground itself imports of no room. The highest two
# are single modules.
ROOMS: dict[str, set[str]] = {
    "read.segment": {"read.masks"},
    "read": {"read.segment"},
    "memory": {"read"},
    "write": {"read"},
    "optimize": {"read", "write"},
    "open": {"write"},
    "repair": {"open", "optimize", "write"},
    "archive": {"open", "repair.check"},
    "open_collections": {"open", "archive", "optimize"},
    "database": {"open_collections", "open", "archive", "write", "repair.check"},
}
# Beside vecdb, and not shipped: they may import all of it, and nothing of each other.
BESIDE = ("proofs", "benchmarks")

# The modules that work on Qdrant's client, which is an extra.
QDRANT = (
    "__init__",
    "answers",
    "arguments",
    "clients",
    "coroutines",
    "errors",
    "installing",
    "local",
)

MAX_LINES = 450


@dataclass(frozen=True)
class Import:
    """One imported module, and whether importing the importer imports it."""

    name: str
    line: int
    at_top: bool
    typing_only: bool


def module_of(path: Path) -> str:
    """``vecdb.storage.fs`` of its file."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_of(path): path for path in FILES}


@cache
def tree_of(path: Path) -> ast.Module:
    """The syntax tree of a file."""
    return ast.parse(path.read_text(encoding="utf-8"), str(path))


def imports_of(path: Path) -> list[Import]:
    """Every import statement of a file, wherever it stands."""
    return list(_imports(tree_of(path), path, at_top=True, typing_only=False))


def _imports(node: ast.AST, path: Path, *, at_top: bool, typing_only: bool) -> Iterator[Import]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Import):
            for alias in child.names:
                yield Import(alias.name, child.lineno, at_top, typing_only)
        elif isinstance(child, ast.ImportFrom):
            assert child.level == 0, f"{path}:{child.lineno}: relative import"
            for alias in child.names:
                # ``from vecdb import ids`` means the module, ``from vecdb.ids import find`` too.
                inner = f"{child.module}.{alias.name}"
                name = inner if inner in MODULES else str(child.module)
                yield Import(name, child.lineno, at_top, typing_only)
        else:
            function = isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda))
            typing_block = isinstance(child, ast.If) and ast.unparse(child.test) == "TYPE_CHECKING"
            yield from _imports(
                child,
                path,
                at_top=at_top and not function,
                typing_only=typing_only or typing_block,
            )


def layer_of(module: str) -> str:
    """The longest entry of LAYERS that the module is in."""
    if module == "vecdb":
        return module
    found = [layer for layer in LAYERS if layer != "vecdb" and f"{module}.".startswith(f"{layer}.")]
    assert found, f"{module} has no place in LAYERS: decide which layers it may import"
    return max(found, key=len)


def within(module: str, allowed: set[str]) -> bool:
    """Whether a module is one of the allowed, or in an allowed package."""
    return any(module == a or (a != "vecdb" and module.startswith(f"{a}.")) for a in allowed)


def relative(path: Path) -> str:
    """The path below the package, as it is written in the tables here."""
    return path.relative_to(PACKAGE).as_posix()


# -- what the page says of it --------------------------------------------------------------------

PAGE = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")


def table_of_page(name: str) -> list[list[str]]:
    """The rows of the table after ``<!-- table: name -->``, without its header."""
    _, _, after = PAGE.partition(f"<!-- table: {name} -->\n\n")
    lines = after.partition("\n\n")[0].splitlines()[2:]
    assert lines, f"docs/architecture.md has no table {name!r}"
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def names_in(cell: str) -> set[str]:
    """``storage.format`` of what a cell has as `storage/format`."""
    return {name.replace("/", ".") for name in re.findall(r"`([\w/]+)`", cell)}


def floors_of_page() -> dict[str, set[str]]:
    """What each floor may import, by the page. *all above*: every floor of the rows before, *but*
    those that are named."""
    floors: dict[str, set[str]] = {}
    for names, may_import in table_of_page("floors"):
        allowed = names_in(may_import.partition(";")[0])
        if may_import.startswith("all above"):
            allowed = set(floors) - allowed
        floors |= dict.fromkeys(names_in(names), allowed)
    return floors


def test_the_page_has_the_floors_of_the_code() -> None:
    above = {"vecdb", *TOOLS}  # the public names, and programs, which import each other
    floors = {
        layer.removeprefix("vecdb."): {name.removeprefix("vecdb.") for name in allowed - above}
        for layer, allowed in LAYERS.items()
        if layer not in ("vecdb", "vecdb.__main__")
    }
    assert floors_of_page() == floors


def test_the_page_has_the_rooms_of_the_engine() -> None:
    rows = table_of_page("rooms of the engine")
    rooms = {name: names_in(allowed) for room, allowed, _ in rows for name in names_in(room)}
    assert rooms == ROOMS


def test_the_drawing_is_the_table() -> None:
    """Every arrow is allowed, and arrows lead to all that is allowed."""
    drawing = PAGE.partition("flowchart TD\n")[2].partition("```")[0]
    arrows: dict[str, set[str]] = {}
    for line in drawing.splitlines():
        chain = [set(re.findall(r"\w+", each)) for each in re.split(r"-->(?:\|.*?\|)?", line)]
        for sources, targets in pairwise(chain):
            for source in sources:
                arrows.setdefault(source, set()).update(targets)
    floors = {
        name: {each.partition(".")[0] for each in allowed}
        for name, allowed in floors_of_page().items()
    }

    def reached(floor: str) -> set[str]:
        below = arrows.get(floor, set())
        return below.union(*map(reached, below))

    assert {*arrows, *(each for below in arrows.values() for each in below)} == set(floors)
    for floor, allowed in floors.items():
        assert arrows.get(floor, set()) <= allowed, floor
        assert reached(floor) >= allowed, floor


# -- imports -------------------------------------------------------------------------------------


def test_vecdb_knows_nothing_of_its_proofs_and_benchmarks() -> None:
    for path in FILES:
        assert not {found.name.split(".")[0] for found in imports_of(path)} & set(BESIDE), path


@pytest.mark.parametrize("package", BESIDE)
def test_what_is_beside_vecdb_has_an_order_too(package: str) -> None:
    """Short modules; nothing of the other package, and no proof under the shared model."""
    below = {"proofs.model", "proofs.lives", "proofs.arguments", "proofs.mutants"}
    for path in sorted((ROOT / package).rglob("*.py")):
        lines = path.read_text(encoding="utf-8").count("\n")
        assert lines <= MAX_LINES, f"{path}: {lines} lines"
        names = {found.name for found in imports_of(path)}
        others = {*BESIDE, "tests"} - {package}
        assert not {name.split(".")[0] for name in names} & others, path
        if within(module_of(path), below):
            ours = {name for name in names if name.startswith("proofs.")}
            assert all(within(name, below) for name in ours), f"{path}: {sorted(ours)}"


def test_imports_go_down_only() -> None:
    wrong = []
    for module, path in MODULES.items():
        layer = layer_of(module)
        for found in imports_of(path):
            if found.name != "vecdb" and not found.name.startswith("vecdb."):
                continue
            if not within(found.name, {*LAYERS[layer], layer}):
                wrong.append(f"{relative(path)}:{found.line} imports {found.name}")
    assert not wrong, "\n".join(wrong)


def room_of(module: str) -> str | None:
    """The room of the engine that a module is in; None: it stands on the ground."""
    found = [room for room in ROOMS if f"{module}.".startswith(f"vecdb.engine.{room}.")]
    return max(found, key=len, default=None)


def test_rooms_of_the_engine_stand_on_each_other() -> None:
    wrong, used = [], set()
    for module, path in MODULES.items():
        if not module.startswith("vecdb.engine."):
            continue
        room = room_of(module)
        for found in imports_of(path):
            theirs = room_of(found.name)
            if theirs is None or theirs == room:
                continue
            name = found.name.removeprefix("vecdb.engine.")
            allowed = {
                each for each in ROOMS.get(room or "", set()) if f"{name}.".startswith(f"{each}.")
            }
            used |= {(room, each) for each in allowed}
            if not allowed:
                wrong.append(f"{relative(path)}:{found.line} imports {found.name}")
    assert not wrong, "\n".join(wrong)
    assert used == {(room, each) for room in ROOMS for each in ROOMS[room]}, "nothing needs it"


def test_every_directory_of_the_engine_is_a_room() -> None:
    engine = PACKAGE / "engine"
    found = {path.parent.relative_to(engine) for path in engine.rglob("__init__.py")} - {Path()}
    assert {".".join(path.parts) for path in found} | {"open_collections", "database"} == set(ROOMS)


def test_only_the_command_line_repairs() -> None:
    """What an open database does must not come to depend on surgery."""
    users: dict[str, set[str]] = {"check": set(), "repair": set()}
    for module, path in MODULES.items():
        for found in imports_of(path):
            user = "vecdb.cli" if module.startswith("vecdb.cli.") else module
            if room_of(found.name) == "repair" and room_of(module) != "repair":
                users["check" if found.name.endswith(".check") else "repair"].add(user)
    assert users["repair"] == {"vecdb.cli"}
    assert users["check"] == {
        "vecdb.aio.database_verbs",
        "vecdb.cli",
        "vecdb.database",
        "vecdb.engine.database",
        "vecdb.engine.archive.unpack",
    }


def test_no_module_imports_itself_in_a_circle() -> None:
    """Nor do those that import each other when a function is called, or for the type checker."""
    graph = {
        module: {
            i.name
            for i in imports_of(path)
            # The package itself gives its public names when they are used.
            if module != "vecdb" or (i.at_top and not i.typing_only)
        }
        for module, path in MODULES.items()
    }
    done: set[str] = set()

    def visit(module: str, above: tuple[str, ...]) -> None:
        if module in above:
            raise AssertionError(" -> ".join([*above[above.index(module) :], module]))
        if module in done or module not in graph:
            return
        for name in sorted(graph[module]):
            if name != module:
                visit(name, (*above, module))
        done.add(module)

    # A package's own __init__ may list its modules, which may not import the package.
    for module in graph:
        visit(module, ())


@pytest.mark.parametrize(
    ("library", "allowed"),
    [
        ("lmdb", {"storage/catalog.py", "storage/catalog_file.py"}),
        ("mmh3", {"bm25.py"}),
        ("msgpack", {"storage/format.py", "payload/encoding.py"}),
        ("py_rust_stemmers", {"payload/words.py"}),
        ("xxhash", {"storage/format.py", "storage/layout.py"}),
        ("mmap", {"storage/arrays.py", "storage/mapping.py", "server/workers/board.py"}),
        ("ctypes", {"storage/mapping.py", "server/arenas.py"}),
        ("fcntl", {"storage/fs.py", "storage/place.py"}),
        (
            "qdrant_client",
            {"exchange/qdrant_server.py", *(f"qdrant/{name}.py" for name in QDRANT)},
        ),
        *((library, set()) for library in ("h5py", "pandas", "pyarrow", "safetensors")),
    ],
)
def test_a_library_is_used_in_its_own_place_only(library: str, allowed: set[str]) -> None:
    users = {
        relative(path)
        for path in FILES
        for found in imports_of(path)
        if found.name.split(".")[0] == library
    }
    assert users == allowed


@pytest.mark.parametrize("library", ["numba", "llvmlite", "psutil", "tqdm"])
def test_a_costly_library_is_imported_by_the_function_that_needs_it(library: str) -> None:
    at_top = [
        f"{relative(path)}:{found.line}"
        for path in FILES
        if not relative(path).startswith("kernels/")
        for found in imports_of(path)
        if found.name.split(".")[0] == library and found.at_top and not found.typing_only
    ]
    assert not at_top


def test_kernels_are_compiled_in_one_place_that_needs_no_cache() -> None:
    """Numba's own ``njit`` raises in a process that may write to no directory."""
    users = {
        relative(path) for path in FILES for found in imports_of(path) if found.name == "numba"
    }
    assert users == {"kernels/jit.py"}


@pytest.mark.parametrize(
    "library", ["pickle", "cPickle", "dill", "cloudpickle", "marshal", "shelve", "joblib"]
)
def test_nothing_stored_can_run_code(library: str) -> None:
    for path in FILES:
        for found in imports_of(path):
            assert found.name.split(".")[0] != library, f"{path}:{found.line}"


def test_nothing_is_evaluated_and_numpy_unpickles_nothing() -> None:
    for path in FILES:
        for call in calls_of(path):
            name = ast.unparse(call.func)
            assert name not in ("eval", "exec"), f"{path}:{call.lineno}"
            if name.endswith(".load"):
                words = {word.arg for word in call.keywords}
                assert "allow_pickle" not in words, f"{path}:{call.lineno}"


# Calls that change files, by the name they are called by.
CHANGES_BY_MODULE = {
    "os": {
        "chmod", "chown", "fdatasync", "fsync", "ftruncate", "link", "makedirs", "mkdir", "mkfifo",
        "open", "pwrite", "pwritev", "remove", "removedirs", "rename", "renames", "replace",
        "rmdir", "sendfile", "symlink", "truncate", "unlink", "utime", "write", "writev",
    },
    "shutil": {"copy", "copy2", "copyfile", "copyfileobj", "copytree", "move", "rmtree"},
    "tempfile": {"NamedTemporaryFile", "TemporaryDirectory", "TemporaryFile", "mkdtemp", "mkstemp"},
    "np": {"memmap", "save", "savetxt", "savez", "savez_compressed"},
}  # fmt: skip
CHANGES_BY_METHOD = {
    "hardlink_to", "mkdir", "rmdir", "symlink_to", "tofile", "touch", "unlink", "write_bytes",
    "write_text",
}  # fmt: skip
# Calls outside storage/fs.py that look like one of these, and why they are fine.
ALLOWED_CALLS = {
    ("cli/main.py", "os.open"): "the null device, in place of a standard output nobody reads",
    ("cli/demo/run.py", "tempfile.TemporaryDirectory"): "the directory of a demo database",
    ("server/workers/board.py", "os.ftruncate"): "memory without a name",
    ("server/workers/board.py", "tempfile.TemporaryFile"): "the same, where there is no memfd",
    ("storage/place.py", "os.open"): "for fs and lookup, by the place a path is in",
}


def calls_of(path: Path) -> Iterator[ast.Call]:
    """Every call in a file."""
    return (node for node in ast.walk(tree_of(path)) if isinstance(node, ast.Call))


def changes_files(call: ast.Call) -> bool:
    """Whether a call, going by its name, changes files."""
    function = call.func
    if isinstance(function, ast.Name):
        return function.id == "open" and _opens_for_writing(call, at=1)
    if not isinstance(function, ast.Attribute):
        return False
    if isinstance(function.value, ast.Name) and function.value.id in CHANGES_BY_MODULE:
        return function.attr in CHANGES_BY_MODULE[function.value.id]
    if function.attr == "open":  # Path.open, gzip.open, io.open
        return _opens_for_writing(call, at=0) or _opens_for_writing(call, at=1)
    return function.attr in CHANGES_BY_METHOD


def _opens_for_writing(call: ast.Call, at: int) -> bool:
    modes = [word.value for word in call.keywords if word.arg == "mode"] + call.args[at : at + 1]
    for mode in modes:
        if isinstance(mode, ast.Constant) and isinstance(mode.value, str):
            return re.fullmatch(r"[rbt]+", mode.value) is None and len(mode.value) <= 3
    return False


def test_only_one_module_changes_files() -> None:
    used = set()
    for path in FILES:
        if relative(path) == "storage/fs.py":
            continue
        for call in calls_of(path):
            if changes_files(call):
                key = (relative(path), ast.unparse(call.func))
                assert key in ALLOWED_CALLS, f"{relative(path)}:{call.lineno}: {ast.unparse(call)}"
                used.add(key)
    assert used == set(ALLOWED_CALLS), "an exception that nothing needs any more"
    makers = {relative(path) for path in FILES if "O_CREAT" in path.read_text(encoding="utf-8")}
    assert makers == {"storage/fs.py"}


def test_the_search_for_file_changing_calls_finds_them() -> None:
    """The test above would pass as well if it recognised nothing."""
    found = {call.lineno for call in calls_of(PACKAGE / "storage/fs.py") if changes_files(call)}
    assert len(found) >= 10
    for text in ("open(p, 'wb')", "p.open('a')", "p.write_text('x')", "os.rename(a, b)"):
        call = ast.parse(text, mode="eval").body
        assert isinstance(call, ast.Call)
        assert changes_files(call), text
    for text in ("open(p)", "open(p, 'rb')", "s.replace('a', 'b')", "os.pread(f, 1, 0)"):
        call = ast.parse(text, mode="eval").body
        assert isinstance(call, ast.Call)
        assert not changes_files(call), text


def test_no_mapping_is_writable() -> None:
    """Nothing reaches a file but by write(2): a mapping of one is read-only. What processes of a
    server share is memory, and no file."""
    found = []
    for path in FILES:
        if relative(path) == "server/workers/board.py":
            continue
        for call in calls_of(path):
            if ast.unparse(call.func) == "mmap.mmap":
                assert ast.unparse(call.args[0]) == "-1", f"{path}:{call.lineno}"
            if ast.unparse(call.func) == "_libc.mmap":
                assert ast.unparse(call.args[2]) == "mmap.PROT_READ", f"{path}:{call.lineno}"
                found.append(relative(path))
    assert found == ["storage/mapping.py"]


def raw_reads(path: Path) -> list[int]:
    """Lines in which a segment is asked for payloads or operations, which may have been edited."""
    names = {"payload", "payloads", "payload_size", "seq", "seq_array"}
    return [
        node.lineno
        for node in ast.walk(tree_of(path))
        if isinstance(node, ast.Attribute)
        and node.attr in names
        and (ast.unparse(node.value).split(".")[-1] in ("segment", "memory"))
    ]


def test_payloads_are_read_where_their_edits_are_known() -> None:
    """Others would find payloads as they were written. ``check`` reads what is in each file."""
    found = {relative(path) for path in (PACKAGE / "engine").rglob("*.py") if raw_reads(path)}
    assert found == {"engine/view.py", "engine/repair/check.py"}


@pytest.mark.parametrize("path", FILES, ids=relative)
def test_a_module_is_short_and_says_what_it_promises(path: Path) -> None:
    lines = len(path.read_text(encoding="utf-8").splitlines())
    assert lines <= MAX_LINES, f"{lines} lines"
    assert ast.get_docstring(tree_of(path)), "no docstring"


def run_fresh(code: str, cwd: Path) -> set[str]:
    """The top-level modules loaded after running ``code`` in an interpreter of its own."""
    program = (
        f"import sys\n{code}\nprint('loaded', *{{name.split('.')[0] for name in sys.modules}})"
    )
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", program],
        cwd=cwd,
        env={"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return set(done.stdout.splitlines()[-1].split()[1:])


def test_importing_vecdb_loads_no_engine(tmp_path: Path) -> None:
    loaded = run_fresh("import vecdb", tmp_path)
    assert not loaded & {"asyncio", "lmdb", "llvmlite", "numba", "psutil", "tqdm"}
    assert "asyncio" in run_fresh("import vecdb; vecdb.AsyncVecDB", tmp_path)


def test_a_small_collection_needs_no_compiler(tmp_path: Path) -> None:
    """Opening, writing, reading and searching 2 000 points: numba would cost 0.4 s to load."""
    loaded = run_fresh(
        """
import numpy as np
import vecdb
from vecdb import models

rows = np.random.default_rng(0).standard_normal((2000, 384)).astype(np.float32)
for _ in range(2):
    with vecdb.VecDB("small.db") as db:
        if not db.collection_exists("c"):
            db.create_collection("c", models.VectorParams(size=384, distance="Cosine"))
        c = db.collection("c")
        payloads = [{"n": i} for i in range(2000)]
        c.upsert(models.Batch(ids=np.arange(2000), vectors=rows, payloads=payloads))
        assert c.search(rows[5], limit=3)[0].id == 5
        assert c.search(rows[5], {"must": [{"key": "n", "range": {"gt": 9}}]}, limit=3)[0].id > 9
        assert len(c.retrieve([1, 2, 3], with_vectors=True)) == 3
        assert c.count().count == 2000
        assert len(c.scroll(limit=7)[0]) == 7
        c.flush()
        c.wait_for_optimizer()
        assert c.search(rows[5], limit=3)[0].id == 5
""",
        tmp_path,
    )
    assert "lmdb" in loaded
    assert not loaded & {"llvmlite", "numba"}


def test_the_public_names_are_the_list() -> None:
    assert vecdb.__all__ == sorted(vecdb.__all__)
    assert dir(vecdb) == vecdb.__all__
    for name in vecdb.__all__:
        assert getattr(vecdb, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'Vecdb'"):
        _ = vecdb.Vecdb


def own_classes(module: types.ModuleType) -> set[str]:
    """The public classes a module defines."""
    return {
        name
        for name, value in vars(module).items()
        if isinstance(value, type) and value.__module__ == module.__name__ and name[0] != "_"
    }


def test_every_error_is_public_and_in_the_tree_of_the_docstring() -> None:
    assert sorted(errors.__all__) == errors.__all__
    assert set(errors.__all__) == own_classes(errors)
    assert errors.__doc__
    for name in errors.__all__:
        error = getattr(errors, name)
        assert issubclass(error, errors.VecdbError)
        assert re.search(rf"\b{name}\b", errors.__doc__), name
        if error is not errors.VecdbError:
            expected = ", ".join(base.__name__ for base in error.__bases__[1:])
            assert not expected or f"{name} ({expected})" in errors.__doc__  # builtins


def test_every_model_is_public() -> None:
    assert sorted(models.__all__) == models.__all__
    assert len(set(models.__all__)) == len(models.__all__)
    for module in (
        models.aliases,
        models.conditions,
        models.config,
        models.requests,
        models.results,
    ):
        assert own_classes(module) <= set(models.__all__), module.__name__


def test_the_version_is_the_same_everywhere() -> None:
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    match = re.search(r'^version = "(.+)"$', text, re.MULTILINE)
    assert match is not None, "pyproject.toml has no version"
    assert match[1] == vecdb.__version__

"""The documentation is true: its code runs, its tables agree with the code, nothing is left out.

A ```` ```python ```` block that cannot run here is excused by ``<!-- not run: reason -->`` in the
line before it; ``EXCUSED`` says how many there are, so that no excuse goes unnoticed.
"""

from __future__ import annotations

import argparse
import ast
import importlib.util
import inspect
import os
import re
import shlex
import struct
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import msgpack
import msgspec
import numpy as np
import pytest

import vecdb
from vecdb import AsyncCollection, AsyncVecDB, Collection, VecDB, errors, models
from vecdb.storage import files, format, layout
from vecdb.storage.segment_row import VectorRow

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
PAGES = [path for path in (ROOT / "README.md", *sorted(DOCS.glob("*.md"))) if path.exists()]
# Their code needs programs of others: tests/features/test_integration_pages.py has it run.
RECIPES = sorted((DOCS / "integrations").glob("*.md"))
EXAMPLES = sorted((ROOT / "examples").glob("*.py"))

EXCUSED = 0
MARKER = re.compile(r"<!-- not run: (.+) -->")


@dataclass(frozen=True)
class Block:
    """A fenced block of a page."""

    page: Path
    line: int  # of its first line of text
    language: str
    text: str
    excuse: str | None


def blocks_of(page: Path, *languages: str) -> Iterator[Block]:
    """The blocks of a page in these languages, in order."""
    lines = page.read_text(encoding="utf-8").splitlines()
    at = 0
    while at < len(lines):
        opened = re.fullmatch(r"```(\w*)", lines[at])
        if opened is None:
            at += 1
            continue
        end = lines.index("```", at + 1)
        marker = MARKER.fullmatch(lines[at - 1]) if at else None
        if opened[1] in languages:
            text = "\n".join(lines[at + 1 : end]) + "\n"
            yield Block(page, at + 2, opened[1], text, marker[1] if marker else None)
        at = end + 1


def name_of(path: Path) -> str:
    """The path as it is written in the repository."""
    return path.relative_to(ROOT).as_posix()


WITH_CODE = [page for page in PAGES if any(blocks_of(page, "python"))]


# Qdrant's client asks for the version in a thread, on a busy machine when the server has ended.
@pytest.mark.filterwarnings("ignore:Failed to obtain server version:UserWarning")
@pytest.mark.parametrize("page", WITH_CODE, ids=name_of)
def test_the_code_of_a_page_runs(
    page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All blocks of a page, one after another, as if typed into one session."""
    monkeypatch.chdir(tmp_path)
    namespace: dict[str, Any] = {"__name__": "__main__"}
    try:
        for block in blocks_of(page, "python"):
            if block.excuse is None:
                # Empty lines before it, so that a traceback names the line of the page.
                padded = "\n" * (block.line - 1) + block.text
                exec(compile(padded, str(page), "exec"), namespace)
    finally:
        for value in namespace.values():
            if isinstance(value, VecDB):
                value.close()


def test_every_excused_block_is_known() -> None:
    excused = [b for page in PAGES for b in blocks_of(page, "python") if b.excuse is not None]
    assert len(excused) == EXCUSED, [(name_of(b.page), b.line, b.excuse) for b in excused]
    markers = sum(len(MARKER.findall(page.read_text(encoding="utf-8"))) for page in PAGES)
    assert markers == EXCUSED, "a marker that stands before no block"


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_an_example_runs(path: Path, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-W", "error", str(path)],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()) >= 3, "an example prints something to read"
    assert not done.stderr
    assert not list(tmp_path.iterdir()), "an example leaves nothing behind"


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_an_example_is_short_and_says_what_it_shows(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert len(text.splitlines()) < 60
    assert text.startswith('"""')
    assert text.splitlines()[0].rstrip('"').endswith(".")


def subcommands() -> set[str]:
    """The commands of ``vecdb``."""
    from vecdb.cli.main import make_parser

    for action in make_parser()._actions:
        if isinstance(action, argparse._SubParsersAction):
            return set(action.choices)
    raise AssertionError("vecdb has no subcommands")


def test_every_command_shown_exists() -> None:
    known = subcommands()
    for page in (*PAGES, *RECIPES):
        for block in blocks_of(page, "bash", "console", "sh"):
            for line in block.text.splitlines():
                words = shlex.split(line.removeprefix("$ "), comments=True)
                for at, word in enumerate(words):
                    if Path(word).name == "vecdb" and (
                        at == 0 or words[at - 1] in ("-m", "&&", ";", "|")
                    ):
                        command = words[at + 1] if at + 1 < len(words) else "--help"
                        assert command in {*known, "--help", "--version"}, f"{page}: {line}"


@pytest.mark.parametrize("page", [*PAGES, *RECIPES], ids=name_of)
def test_every_link_leads_somewhere(page: Path) -> None:
    text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if re.match(r"[a-z]+:", target):
            continue
        file, _, anchor = target.partition("#")
        found = page if not file else (page.parent / file).resolve()
        if found == (DOCS / "benchmarks.md").resolve() and not found.exists():
            continue  # written with its measurements
        assert found.exists(), f"{target} in {name_of(page)}"
        if anchor and found.suffix == ".md":
            assert anchor in anchors_of(found), f"{target} in {name_of(page)}"


def anchors_of(page: Path) -> set[str]:
    """What GitHub makes of the headings of a page."""
    text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", h.lower()).replace(" ", "-") for h in headings}


# -- file-format.md --------------------------------------------------------------------------------

FORMAT = DOCS / "file-format.md"
CODES = {"u8": "B", "u16": "H", "u32": "I", "u64": "Q"}
SIZES = {"u8": 1, "u16": 2, "u32": 4, "u64": 8}


def table(name: str) -> list[list[str]]:
    """The rows of the table after ``<!-- table: name -->``, without its header."""
    lines = FORMAT.read_text(encoding="utf-8").splitlines()
    at = lines.index(f"<!-- table: {name} -->") + 1
    while not lines[at]:
        at += 1
    rows = []
    while at < len(lines) and lines[at].startswith("|"):
        rows.append([cell.strip().strip("`") for cell in lines[at].strip("|").split("|")])
        at += 1
    return rows[2:]


def struct_of(name: str) -> str:
    """The struct format a byte table describes; its offsets are checked on the way."""
    code = "<"
    at = 0
    for offset, size, kind, _ in table(name):
        if size == "…":
            break
        assert int(offset) == at, f"{name}: offset {offset}, expected {at}"
        if kind == "bytes":
            code += f"{size}s"
        elif kind == "zero":
            code += f"{size}x"
        else:
            assert int(size) == SIZES[kind], f"{name}: {kind} of {size} bytes"
            code += CODES[kind]
        at += int(size)
    assert struct.calcsize(code) == at
    return code


@pytest.mark.parametrize(
    ("name", "layout", "size"),
    [
        ("data header", format._HEADER, format.HEADER_SIZE),
        ("WAL header", format._WAL_HEADER, format.HEADER_SIZE),
        ("frame header", format._FRAME, format.FRAME_HEADER_SIZE),
    ],
)
def test_a_byte_table_is_the_struct(name: str, layout: struct.Struct, size: int) -> None:
    assert struct_of(name) == layout.format
    assert layout.size == size


def test_the_footer_table_is_the_footer() -> None:
    assert struct.calcsize(struct_of("data footer")) == format.FOOTER_SIZE
    header = bytes(range(64))
    sums = np.array([7, 8, 9], dtype="<u8").tobytes()
    count, check, magic = struct.unpack(struct_of("data footer"), format.pack_footer(header, sums))
    assert (count, magic) == (3, format.END_MAGIC)
    assert check == format.checksum(header + sums + struct.pack("<Q", 3))


def test_the_constants_are_the_constants() -> None:
    rows = table("constants")
    for name, value, _ in rows:
        assert getattr(format, name) == int(value.replace(" ", "")), name
    numbers = {
        name
        for name, value in vars(format).items()
        if name.isupper() and name[0] != "_" and type(value) is int
    }
    assert {name for name, _, _ in rows} == numbers


def test_the_magics_are_the_magics() -> None:
    rows = table("magics")
    for name, hexadecimal, _ in rows:
        assert getattr(format, name) == bytes.fromhex(hexadecimal), name
    magics = {name for name, value in vars(format).items() if isinstance(value, bytes)}
    assert {name for name, _, _ in rows} == {name for name in magics if name.isupper()}


def test_kinds_and_dtypes_are_all_listed() -> None:
    assert {int(n): name for n, name, *_ in table("kinds")} == {
        k.value: k.name for k in format.Kind
    }
    assert {int(n): np.dtype(d) for n, d, _ in table("dtypes")} == format.DTYPES


EXTENTS = {
    "rows x 1": (1000, (1,)),
    "rows x 1 or 2": (1000, (1, 2)),
    "rows + 1 x 1": (1001, (1,)),
    "rows x dim": (1000, (24,)),
    "ceil(rows / 8) x 1": (125, (1,)),
    "bytes x 1": (None, (1,)),
    "numbers x 1": (None, (1,)),
    "numbers x 3": (None, (3,)),
    "tokens x numbers of each": (None, (24,)),
    "tokens x 2": (None, (2,)),
    "blocks of 32 rows x their size": (32, (200,)),
    "rows x code size, or blocks of 32 rows x their size": (1000, (24,)),
}


def test_the_table_of_kinds_is_the_table_of_files() -> None:
    assert sorted(files.BY_KIND) == sorted(format.Kind)
    vector = VectorRow(24, {"kind": "scalar", "quantile": None}, (32, 200))
    for number, _, name, dtype, extent, _ in table("kinds"):
        file = files.BY_KIND[format.Kind(int(number))]
        assert (file.name, file.dtype) == (name.split(".")[0], dtype)
        assert name.endswith(".<seq>") == (file.per == "edit")
        vectors = (vector, VectorRow(0, None, None), VectorRow(-24, None, None))
        shape = next(shape for v in vectors if (shape := file.shape(1000, v)) is not None)
        assert (shape.rows, shape.columns) == EXTENTS[extent], name


@pytest.mark.parametrize("text", [FORMAT.read_text(encoding="utf-8"), layout.__doc__])
def test_the_directory_of_a_segment_lists_the_files(text: str) -> None:
    listed = text[text.index("segments/<id>/") : text.index("  snapshots/")]
    assert re.search(r"\bmanifest ids order seqs payload payload-offsets$", listed, re.MULTILINE)
    found = {"segment": {"manifest", "ids", "order", "seqs", "payload", "payload-offsets"}}
    found["vector"] = set(re.findall(r"([a-z-]+)\[\.<", listed))
    found["edit"] = set(re.findall(r"([a-z-]+)\.<seq>", listed))
    for per, names in found.items():
        assert names == {file.name for file in files.FILES if file.per == per}


def test_a_file_can_be_read_with_the_tables_alone(tmp_path: Path) -> None:
    """An independent reader of a vectors file, made from the page and nothing else."""
    vectors = np.random.default_rng(1).standard_normal((3000, 24)).astype("<f4")
    with VecDB(tmp_path / "db") as db:
        db.create_collection("c", models.VectorParams(size=24, distance=models.Distance.DOT))
        db.upsert("c", models.Batch(ids=np.arange(3000), vectors=vectors))
    path = next((tmp_path / "db").glob("collections/c/segments/*/vectors"))
    data = path.read_bytes()
    header = struct.unpack_from(struct_of("data header"), data)
    magic, version, kind, dtype, columns, rows = header[:6]
    assert (magic, version, kind, columns, rows) == (format.DATA_MAGIC, 1, 6, 24, 3000)
    assert header[-1] == format.checksum(data[:56])
    size = rows * columns * 4
    assert np.dtype({int(n): d for n, d, _ in table("dtypes")}[dtype]) == vectors.dtype
    found = np.frombuffer(data, dtype="<f4", count=rows * columns, offset=64)
    assert (found.reshape(rows, columns) == vectors).all()
    blocks = -(-size // 65536)
    sums = np.frombuffer(data, dtype="<u8", count=blocks, offset=64 + size)
    for number in range(blocks):
        block = data[64 + 65536 * number : 64 + min(size, 65536 * (number + 1))]
        assert format.checksum(block) == sums[number]
    assert len(data) == 64 + size + 8 * blocks + 24


def data_of(path: Path) -> bytes:
    """The bytes between header and checksums of a data file of bytes."""
    data = path.read_bytes()
    *_, columns, rows = struct.unpack_from(struct_of("data header"), data)[:6]
    return data[64 : 64 + rows * columns]


@pytest.mark.parametrize("distance", ["Dot", "Euclid"])
def test_an_index_can_be_read_with_the_page_alone(tmp_path: Path, distance: str) -> None:
    """An independent reader of the index and its sketches: what they say of a query is near the
    truth, for every row in the place that the page names."""
    rng = np.random.default_rng(2)
    dim, rows = 203, 900
    vectors = (3 * rng.standard_normal((12, dim))[rng.integers(0, 12, rows)]).astype(np.float32)
    vectors += rng.standard_normal(vectors.shape).astype(np.float32)
    absent = rng.random(rows) < 0.1
    config = {
        "a": models.VectorParams(size=dim + 6, distance=models.Distance.DOT),
        "b": models.VectorParams(size=dim, distance=models.Distance(distance)),
    }
    with VecDB(tmp_path / "db") as db:
        db.create_collection("c", config, optimizers_config={"indexing_threshold": 1})
        points = [
            models.PointStruct(
                id=i,
                vector={"a": rng.standard_normal(dim + 6)}
                | ({} if absent[i] else {"b": vectors[i]}),
            )
            for i in range(rows)
        ]
        db.upsert("c", points)
        db.flush("c")
        db.wait_for_optimizer("c")
    (path,) = (tmp_path / "db").glob("collections/c/segments/*/index.b")
    state = data_of(path)
    length, count = struct.unpack_from("<II", state)
    sizes = struct.unpack_from(f"<{count}Q", state, 8)
    at = 8 + 8 * count
    meta = msgpack.unpackb(state[at : at + length])
    at += -(-length // 8) * 8
    arrays = {}
    for (name, dtype, shape), size in zip(meta["arrays"], sizes, strict=True):
        arrays[name] = np.frombuffer(state[at : at + size], dtype).reshape(shape)
        at += -(-size // 8) * 8
    assert meta["dim"] == dim
    assert meta["metric"] == distance.lower()

    width, starts, order = int(arrays["width"][0]), arrays["starts"], arrays["order"]
    assert width == 2  # the last code stands for one dimension
    codes_each = -(-dim // width)
    columns = 1 if distance == "Dot" else 2
    assert len(order) == starts[-1] == (~absent).sum()
    centroids = arrays["low"] + arrays["scale"] * arrays["centroids"]
    centroids *= arrays["stretch"][:, None]
    middle = arrays["middle"]
    blocks = np.frombuffer(data_of(path.with_name("sketch.b")), np.uint8)
    blocks = blocks.reshape(-(-len(order) // 32), -1)
    assert blocks.shape[1] == 64 * -(-codes_each // 4) + 128 * columns
    keys = np.frombuffer(path.with_name("ids").read_bytes()[64 : 64 + 8 * rows], "<u8")

    query = vectors[np.flatnonzero(~absent)[0]]
    asked = query if distance == "Dot" else query - middle
    estimates = []
    for position, row in enumerate(order):
        c = int(np.searchsorted(starts, position, side="right")) - 1
        block, i = blocks[position // 32], position % 32
        bytes_of_codes = block[i % 16 : 16 * codes_each : 16]
        codes = bytes_of_codes & 15 if i < 16 else bytes_of_codes >> 4
        told = np.concatenate(
            [arrays["codebook"][width * k : width * (k + 1), code] for k, code in enumerate(codes)]
        )
        numbers = block[-128 * columns :].view("<f4").reshape(columns, 32)[:, i]
        near = asked @ centroids[c]
        score = (
            near + query @ middle if distance == "Dot" else 2 * near - centroids[c] @ centroids[c]
        )
        score += (asked @ told[:dim]) * numbers[0] + (0.0 if columns == 1 else numbers[1])
        row_vector = vectors[keys[row]]
        difference = query - row_vector
        true = query @ row_vector
        if distance != "Dot":
            true = asked @ asked - difference @ difference
        estimates.append((score, true))
    found, true = np.array(estimates).T
    assert np.corrcoef(found, true)[0, 1] > 0.99
    assert abs(np.mean(found - true)) < 0.02 * np.std(true)

    efforts = arrays["efforts"]
    assert efforts.shape[0] == 3
    assert (np.diff(efforts[:, :, 0]) >= 0).all()


# -- architecture.md, configuration.md, durability.md, api.md --------------------------------------


ARCHITECTURE = DOCS / "architecture.md"
PACKAGES = ("vecdb", "proofs", "benchmarks", "kernel_compiler")
MODULES = [path for package in PACKAGES for path in sorted((ROOT / package).rglob("*.py"))]


def test_the_architecture_can_be_read_in_ten_minutes() -> None:
    words = ARCHITECTURE.read_text(encoding="utf-8").split()
    assert len(words) <= 2800, "what is deep goes to internals.md"


def test_every_room_has_one_row_of_the_architecture() -> None:
    text = ARCHITECTURE.read_text(encoding="utf-8")
    section = text.partition("\n## Rooms\n")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| \[`([\w/]+)`\]\(\.\./([\w/]+)/\) \| (.+) \|$", section, re.MULTILINE)
    rooms = sorted(name_of(path.parent) for path in MODULES if path.name == "__init__.py")
    assert sorted(path for _, path, _ in rows) == rooms
    for label, path, sentence in rows:
        assert label == path.removeprefix("vecdb/"), path
        assert sentence.endswith("."), path


def test_every_module_says_in_its_first_line_what_it_is() -> None:
    """The architecture names no modules: these lines are the list."""
    for path in MODULES:
        docstring = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
        first = docstring.partition("\n")[0]
        assert re.search(r"\w+ .*\.$", first), f"{name_of(path)}: {first!r} is no sentence"
        opening = path.read_text(encoding="utf-8").partition("\n")[0]
        assert opening.removeprefix('"""').removesuffix('"""') == first, name_of(path)


@pytest.mark.parametrize("page", [ARCHITECTURE, DOCS / "internals.md"], ids=name_of)
def test_what_a_page_names_of_the_code_is_there(page: Path) -> None:
    """Functions, classes and modules in backticks: a name that was changed is found."""
    words = set()
    for path in [*MODULES, *(ROOT / "docs").glob("*.py"), *(ROOT / "tests").rglob("*.py")]:
        if path != Path(__file__):
            words |= set(re.findall(r"\w+", path.read_text(encoding="utf-8")))
        words |= {*path.with_suffix("").parts}
    text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    for named in re.findall(r"`([^`]+)`", text):
        if re.fullmatch(r"[\w./]+", named):
            missing = [
                word
                for word in re.findall(r"[A-Za-z_]\w*", named)
                if word not in words and word not in NO_CODE
            ]
            assert not missing, f"`{named}` in {name_of(page)}: there is no {missing[0]}"


NO_CODE = {"md", "py", "vecdb", "vcvtph2ps", "vpmovzxbd"}
"""Parts of file names, and instructions of processors."""


@pytest.mark.parametrize(
    "config",
    [
        models.VectorParams,
        models.OptimizersConfig,
        models.HnswConfig,
        models.WalConfig,
        models.ScalarQuantizationConfig,
        models.BinaryQuantizationConfig,
        models.ProductQuantizationConfig,
        models.SearchParams,
        models.QuantizationSearchParams,
    ],
)
def test_configuration_lists_every_option_with_its_default(config: Any) -> None:
    text = (DOCS / "configuration.md").read_text(encoding="utf-8")
    _, _, section = text.partition(f"`{config.__name__}`")
    assert section, f"{config.__name__} is not in configuration.md"
    section = re.split(r"^#", section, maxsplit=1, flags=re.MULTILINE)[0]
    for field in msgspec.structs.fields(config):
        row = re.search(rf"^\| `{field.encode_name}` \| ([^|]+) \|", section, re.MULTILINE)
        assert row, f"{config.__name__}.{field.encode_name}"
        default = "required" if field.required else f"`{field.default!r}`"
        assert row[1].strip() == default, f"{config.__name__}.{field.encode_name}"


def test_every_error_is_explained() -> None:
    text = (DOCS / "durability.md").read_text(encoding="utf-8")
    for name in ("CorruptionError", "WriteError", "StorageFullError", "ReadOnlyError"):
        assert f"`{name}`" in text
    text = (DOCS / "api.md").read_text(encoding="utf-8")
    for name in errors.__all__:
        assert f"- `{name}`: " in text


def test_every_public_name_is_in_the_reference() -> None:
    text = (DOCS / "api.md").read_text(encoding="utf-8")
    for name in vecdb.__all__:
        assert f"`{name}`" in text
    for name in models.__all__:
        assert f"`{name}" in text
    for cls in (VecDB, Collection):
        assert f"\n## {cls.__name__}\n" in text
        for name, member in inspect.getmembers(cls):
            if not name.startswith("_") and (callable(member) or isinstance(member, property)):
                assert inspect.getdoc(member), f"{cls.__name__}.{name} has no docstring"
                assert f"\n### {cls.__name__}.{name}\n" in text
    for cls in (AsyncVecDB, AsyncCollection):
        chapter = text.partition(f"\n## {cls.__name__}\n")[2].partition("\n## ")[0]
        for name in (name for name in dir(cls) if name[0] != "_"):
            assert f"\n### {cls.__name__}.{name}\n" in chapter or f"[`{name}`](#" in chapter


def script(name: str) -> ModuleType:
    """A script of docs/ as a module."""
    spec = importlib.util.spec_from_file_location(name, DOCS / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_reference_is_as_the_docstrings_are() -> None:
    current = (DOCS / "api.md").read_text(encoding="utf-8")
    assert current == script("make_api").api(), "run python docs/make_api.py"


def test_the_verbs_of_the_database_are_those_of_a_collection() -> None:
    for path, text in script("make_verbs").files().items():
        assert path.read_text(encoding="utf-8") == text, "run python docs/make_verbs.py"


def test_the_coroutines_are_those_of_the_verbs() -> None:
    for path, text in script("make_async").files().items():
        assert path.read_text(encoding="utf-8") == text, "run python docs/make_async.py"

"""The commands as a user runs them: real processes, their output, their exit codes."""

from __future__ import annotations

import json
import os
import pty
import re
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import vecdb
import vecdb.errors
from vecdb.cli.main import main
from vecdb.kernels import library

COMMAND = [sys.executable, "-m", "vecdb"]
# The checkout's package, wherever the tests run from and however it is installed.
ENVIRONMENT = os.environ | {"PYTHONPATH": str(Path(vecdb.__file__).parent.parent)}


def run(*arguments: str | Path, **options: Any) -> subprocess.CompletedProcess[str]:
    """Run a command to its end, as from a script: nothing is a terminal."""
    environment = ENVIRONMENT | options.pop("env", {})
    return subprocess.run(
        [*COMMAND, *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=240,
        env=environment,
        **options,
    )


def on_terminal(*arguments: str | Path, **variables: str) -> str:
    """What a command shows on a terminal 90 columns wide."""
    environment = ENVIRONMENT | {"TERM": "xterm", "COLUMNS": "90"} | variables
    parent, child = pty.openpty()
    try:
        with subprocess.Popen(
            [*COMMAND, *map(str, arguments)],
            stdin=child,
            stdout=child,
            stderr=child,
            env=environment,
        ) as process:
            os.close(child)
            output = b""
            while True:
                try:
                    part = os.read(parent, 65536)
                except OSError:  # Linux: the other end is closed
                    break
                if not part:
                    break
                output += part
        assert process.returncode == 0, output
    finally:
        os.close(parent)
    return output.decode()


def files_of(directory: Path) -> dict[str, bytes]:
    """Every file below a directory, but for locks, LMDB's reader table and empty WAL files."""
    return {
        str(path.relative_to(directory)): path.read_bytes()
        for path in sorted(directory.rglob("*"))
        if path.is_file() and path.name not in ("LOCK", "lock.mdb") and path.suffix != ".wal"
    }


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """The database ``vecdb demo DIR`` leaves, and the figures it printed."""
    path = tmp_path_factory.mktemp("cli") / "demo.db"
    done = run("demo", path, "--json")
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return path, json.loads(done.stdout)


@pytest.fixture
def unfinished(tmp_path: Path) -> Path:
    """A database whose process died: 100 points are in the WAL only, and there is work to do."""
    path = tmp_path / "unfinished.db"
    script = f"""
import os
import numpy as np
import vecdb
from vecdb import models

db = vecdb.VecDB({str(path)!r})
db.optimizer.stop()
db.create_collection(
    "small",
    vectors_config=dict(size=64, distance="Dot"),
    quantization_config=dict(binary={{}}),
    optimizers_config=dict(indexing_threshold=1),
)
vectors = np.random.default_rng(0).normal(size=(100, 64)).astype(np.float32)
db.upsert("small", models.Batch(ids=list(range(100)), vectors=vectors))
os._exit(9)
"""
    done = subprocess.run([sys.executable, "-c", script], env=ENVIRONMENT, timeout=60, check=False)
    assert done.returncode == 9
    return path


# -- demo --------------------------------------------------------------------------------------


def test_demo_finds_what_exact_search_finds(demo: tuple[Path, dict[str, Any]]) -> None:
    methods = {method["method"]: method for method in demo[1]["methods"]}
    assert list(methods) == ["none (exact)", "binary", "product", "scalar"]
    assert methods["none (exact)"]["recall_at_10"] == 1.0
    assert methods["scalar"]["recall_at_10"] > 0.98
    assert methods["product"]["recall_at_10"] > 0.95
    assert methods["binary"]["recall_at_10"] > 0.95
    assert methods["scalar"]["recall_at_10_codes_alone"] > 0.9


def test_demo_compresses_as_the_methods_promise(demo: tuple[Path, dict[str, Any]]) -> None:
    report = demo[1]
    size = report["dimensions"] * 4
    # Two numbers stand beside the bits of a row.
    promised = {"none (exact)": size, "scalar": size / 4, "product": size / 16}
    promised["binary"] = size / 32 + 8
    for method in report["methods"]:
        # Headers and checksums are part of the file.
        bare = report["rows"] * promised[method["method"]]
        assert bare <= method["vector_bytes"] < 1.1 * bare
        assert method["median_seconds"] > 0


def test_demo_index_finds_what_is_asked_for(demo: tuple[Path, dict[str, Any]]) -> None:
    exact, *reached = demo[1]["index"]
    assert (exact["asked"], exact["recall_at_10"], exact["median_rows"]) == (None, 1.0, 5000)
    assert [step["asked"] for step in reached] == [0.9, 0.97, 0.99, 0.998]
    for step in reached:
        assert step["recall_at_10"] >= step["asked"] - 0.02
    rows = [step["median_rows"] for step in reached]
    assert rows == sorted(rows)
    assert rows[0] < 5000 / 4


def test_demo_storage_modes_put_parts_where_they_say(demo: tuple[Path, dict[str, Any]]) -> None:
    report = demo[1]
    originals = report["rows"] * report["dimensions"] * 4
    ram, hybrid, disk = report["storage_modes"]
    placements = [(mode["originals"], mode["codes"]) for mode in (ram, hybrid, disk)]
    assert placements == [("anonymous", "anonymous"), ("mapped", "anonymous"), ("mapped", "mapped")]
    assert ram["anonymous"] >= originals * 5 / 4
    assert originals / 4 <= hybrid["anonymous"] < originals / 2
    assert disk["anonymous"] < originals / 80  # tables of the index and of codes
    assert disk["mapped"] >= originals * 5 / 4
    assert len({mode["file"] for mode in (ram, hybrid, disk)}) == 1


def test_demo_answers_the_same_after_reopening(demo: tuple[Path, dict[str, Any]]) -> None:
    reopen = demo[1]["reopen"]
    assert reopen["points"] == 5000
    assert reopen["same_answers"] == reopen["queries"] == 200


def test_demo_shows_texts(demo: tuple[Path, dict[str, Any]]) -> None:
    load = demo[1]["load"]
    assert [hit["name"] for hit in load["hits"]][:2] == ["lft", "traceroute"]
    assert all(hit["name"].startswith("python3-") for hit in load["filtered_hits"])


def test_demo_never_overwrites(demo: tuple[Path, dict[str, Any]]) -> None:
    path, _ = demo
    before = files_of(path)
    again = run("demo", path)
    assert again.returncode == 2
    assert again.stdout == ""
    assert f"{path} holds a database already" in again.stderr
    assert "a new or an empty directory" in again.stderr
    assert files_of(path) == before


def test_demo_leaves_other_databases_alone(tmp_path: Path) -> None:
    """It once added its collection to any database it was given."""
    path = tmp_path / "my own.db"
    with vecdb.VecDB(path) as db:
        db.create_collection("texts", {"size": 4, "distance": "Dot"})
    before = files_of(path)
    done = run("demo", path)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == (
        f"vecdb: {path} holds a database already; the demo wants a new or an empty directory. "
        f"To see what is there: vecdb info '{path}'\n"
    )
    assert files_of(path) == before


def test_demo_refuses_a_directory_with_other_files(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    done = run("demo", tmp_path)
    assert done.returncode == 2
    assert re.fullmatch(r"vecdb: .*thesis\.txt.*\n", done.stderr)
    assert [entry.name for entry in tmp_path.iterdir()] == ["thesis.txt"]


@pytest.mark.slow
def test_demo_on_a_terminal(tmp_path: Path) -> None:
    shown = on_terminal("demo", TMPDIR=str(tmp_path))
    assert "\x1b[1m" in shown  # emphasis
    assert "recall@10" in shown
    assert "200 of 200 queries answered as before" in shown
    plain = re.sub(r"\x1b\[[0-9;]*[A-Za-z]", "", shown)
    # A carriage return begins a progress bar's line anew.
    widths = [len(part) for line in plain.split("\n") for part in line.rstrip("\r").split("\r")]
    assert max(widths) <= 90
    assert list(tmp_path.iterdir()) == []  # the temporary database is gone


def test_no_colour_where_none_is_wanted(demo: tuple[Path, dict[str, Any]]) -> None:
    path, _ = demo
    assert "\x1b[" in on_terminal("info", path)
    assert "\x1b[" not in on_terminal("info", path, NO_COLOR="1")
    assert "\x1b[" not in on_terminal("info", path, TERM="dumb")
    assert "\x1b[" not in run("info", path).stdout


def test_interrupted_demo_leaves_nothing_behind(tmp_path: Path) -> None:
    process = subprocess.Popen(
        [*COMMAND, "demo"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=ENVIRONMENT | {"TMPDIR": str(tmp_path)},
    )
    assert process.stdout is not None
    while "Quantize" not in (line := process.stdout.readline()):
        assert line, "the demo ended early"
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert errors == "vecdb: interrupted\n"
    assert list(tmp_path.iterdir()) == []


# -- info --------------------------------------------------------------------------------------


def test_info_names_every_part(demo: tuple[Path, dict[str, Any]]) -> None:
    path, _ = demo
    shown = run("info", path)
    assert (shown.returncode, shown.stderr) == (0, "")
    for text in ("debian-packages: 5,000 points", "384-d Cosine", "scalar", "cached", "catalog"):
        assert text in shown.stdout
    assert max(map(len, shown.stdout.splitlines()[1:])) <= 90

    info = json.loads(run("info", path, "--json").stdout)["collections"]["debian-packages"]
    assert info["points_count"] == 5000
    assert info["status"] == "green"
    assert info["config"]["quantization_config"]["scalar"]["always_ram"] is False
    (segment,) = info["segments"]
    assert segment["vectors"][""]["codes_placement"] == "cached"
    # What the report says is on disk is on disk.
    for part, pattern in (("originals", "vectors"), ("codes", "codes"), ("payload", "payload*")):
        found = sum(
            file.stat().st_size for file in path.glob(f"collections/*/segments/*/{pattern}")
        )
        assert info["memory"]["parts"][part]["file"] == found


def test_info_of_memory_goes_down_to_the_parts_of_segments(
    demo: tuple[Path, dict[str, Any]],
) -> None:
    path, _ = demo
    shown = run("info", path, "--memory")
    assert (shown.returncode, shown.stderr) == (0, "")
    assert "status" not in shown.stdout
    document = json.loads(run("info", path, "--json").stdout)
    memory = document["collections"]["debian-packages"]["memory"]
    assert memory["explanation"].partition(" ")[0] == "originals"
    words = " ".join(shown.stdout.split())
    for text in ("In short: originals", "The process has", "Python and libraries"):
        assert text in words
    rows = [line.split() for line in shown.stdout.splitlines()]
    for part in memory["segments"][0]["vectors"][""]:
        assert any(row[1:4] == ["file", "-", part] for row in rows)
    assert document["process"]["own"]["anonymous"] > 1_000_000


def test_info_shows_the_index_and_what_which_recall_takes(
    demo: tuple[Path, dict[str, Any]],
) -> None:
    path, _ = demo
    info = json.loads(run("info", path, "--json").stdout)["collections"]["debian-packages"]
    (segment,) = info["segments"]
    index = segment["vectors"][""]["index"]
    assert 1 < index["partitions"] < 1000
    files = [*path.rglob("sketch"), *path.rglob("index")]
    assert len(files) == 2
    size = sum(file.stat().st_size for file in files)
    assert index["bytes_per_vector"] == round(size / 5000, 1)
    assert index["sketch_bytes"] < size
    recalls = [effort["recall"] for effort in index["efforts"]]
    assert recalls == sorted(recalls)
    assert recalls[-1] == 1.0
    assert index["efforts"][-1]["rows"] == 5000

    shown = run("info", path).stdout
    assert f"{index['partitions']} partitions, {index['bytes_per_vector']:g} bytes" in shown
    lines = {line.split("  ")[1]: line.split()[3:] for line in shown.splitlines() if "  " in line}
    usual = lines["recall (* default)"].index("0.97*")
    (effort,) = [effort for effort in index["efforts"] if effort["recall"] == 0.97]
    assert lines["rows by sketches"][usual] == f"{effort['rows']:,}"


def test_info_has_an_index_for_each_vector_name(tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    with vecdb.VecDB(tmp_path / "db", sync="never") as db:
        db.create_collection(
            "c",
            {"text": {"size": 48, "distance": "Dot"}, "image": {"size": 96, "distance": "Euclid"}},
            optimizers_config={"indexing_threshold": 100, "recall": 0.93},
        )
        vectors = {name: rng.standard_normal((500, d)) for name, d in (("text", 48), ("image", 96))}
        db.upsert("c", vecdb.models.Batch(ids=range(500), vectors=vectors))
        db.wait_for_optimizer()
    shown = run("info", tmp_path / "db")
    assert (shown.returncode, shown.stderr) == (0, "")
    assert shown.stdout.count("index of segment") == 2
    for name in ("text", "image"):
        assert f", {name}: " in shown.stdout
    assert shown.stdout.count("0.94*") == 2  # the first line of a table that is enough
    assert max(map(len, shown.stdout.splitlines()[1:])) <= 90


def test_info_shows_payload_indexes(tmp_path: Path) -> None:
    """It said nothing of them, not even of those that nobody asked for."""
    with vecdb.VecDB(tmp_path / "db", sync="never") as db:
        db.create_collection("c", {"size": 2, "distance": "Dot"})
        payloads = [{"city": f"c{n % 9}", "n": n} for n in range(5000)]
        db.upload_collection("c", np.ones((5000, 2)), payloads, range(5000))
        db.create_payload_index("c", "city", "keyword")
        db.flush("c")
        for least in range(9):
            db.count("c", {"must": [{"key": "n", "range": {"gt": least}}]})
        db.wait_for_optimizer("c")
    shown = run("info", tmp_path / "db")
    assert (shown.returncode, shown.stderr) == (0, "")
    lines = [line.split() for line in shown.stdout.splitlines()]
    assert ["payload", "index", "type", "points", "in", "files", "on", "disk"] in lines
    assert ["city", "keyword", "5,000"] in [line[:3] for line in lines]
    assert ["n", "automatic", "5,000"] in [line[:3] for line in lines]


def test_info_says_where_sketches_reach_no_recall(tmp_path: Path) -> None:
    """It showed the candidates that sketches would give, where searches score all originals."""
    rng = np.random.default_rng(5)
    with vecdb.VecDB(tmp_path / "db", sync="never") as db:
        db.create_collection(
            "c",
            {"size": 16, "distance": "Euclid"},
            optimizers_config={"indexing_threshold": 100, "recall": 0.9999},
        )
        vectors = rng.standard_normal((4_000, 16))
        db.upsert("c", vecdb.models.Batch(ids=range(4_000), vectors=vectors))
        db.wait_for_optimizer()
        explanation = db.query_points("c", vectors[0], explain=True).explanation
    assert explanation is not None
    assert [stage.by for stage in explanation[0].stages] == ["originals"]
    shown = run("info", tmp_path / "db").stdout
    lines = {line.split("  ")[1]: line.split()[-1] for line in shown.splitlines() if "  " in line}
    assert lines["recall (* default)"] == "1*"
    for label, figure in (
        ("rows by sketches", "-"),
        ("candidates", "-"),
        ("by originals", "4,000"),
    ):
        assert lines[label] == figure
    assert "not found to reach 0.9999 here" in shown


def test_info_changes_nothing_and_starts_nothing(unfinished: Path) -> None:
    before = files_of(unfinished)
    for _ in range(2):
        info = json.loads(run("info", unfinished, "--json").stdout)["collections"]["small"]
        assert info["points_count"] == 100
        assert info["replayed"] == 1
        assert info["wal_bytes"] > 100 * 64 * 4
        assert info["status"] == "grey"
        assert info["optimizer_progress"]["pending"] == "checkpoint"
    assert "checkpoint is due" in run("info", unfinished).stdout
    assert files_of(unfinished) == before


def test_info_of_an_empty_database(tmp_path: Path) -> None:
    vecdb.VecDB(tmp_path / "empty.db").close()
    shown = run("info", tmp_path / "empty.db")
    assert shown.returncode == 0
    assert "0 collections" in shown.stdout


# -- check -------------------------------------------------------------------------------------


def test_check_of_a_whole_database(demo: tuple[Path, dict[str, Any]], unfinished: Path) -> None:
    path, _ = demo
    before = files_of(path)
    done = run("check", path)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("ok: 1 collection")
    assert files_of(path) == before
    report = json.loads(run("check", path, "--json").stdout)
    assert report["ok"] is True
    assert report["collections"][0]["points"] == 5000

    waiting = json.loads(run("check", unfinished, "--json").stdout)
    assert waiting["collections"][0]["wal_operations"] == 1


def test_check_names_the_damaged_file(demo: tuple[Path, dict[str, Any]], tmp_path: Path) -> None:
    copy = tmp_path / "copy.db"
    subprocess.run(["cp", "-r", str(demo[0]), str(copy)], check=True)
    (victim,) = copy.glob("collections/*/segments/*/vectors")
    with open(victim, "r+b") as file:
        file.seek(1_000_000)
        byte = file.read(1)[0]
        file.seek(1_000_000)
        file.write(bytes([byte ^ 1]))
    done = run("check", copy)
    assert done.returncode == 1
    assert done.stdout.startswith("DAMAGED: 1 problem")
    assert str(victim) in done.stdout
    report = run("check", copy, "--json")
    assert report.returncode == 1
    assert json.loads(report.stdout)["problems"][0]["path"] == str(victim)


@pytest.fixture
def small(tmp_path: Path) -> Path:
    """A closed database with scalar codes in a file."""
    path = tmp_path / "small.db"
    with vecdb.VecDB(path) as db:
        db.create_collection(
            "c",
            vectors_config={"size": 4, "distance": "Dot"},
            quantization_config={"scalar": {"type": "int8"}},
            optimizers_config={"indexing_threshold": 1},
        )
        db.upsert("c", [{"id": i, "vector": [i, 1, 2, 3], "payload": {"i": i}} for i in range(99)])
        db.flush()
        db.wait_for_optimizer()
    return path


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)


def test_damage_that_several_steps_find_is_one_problem_and_has_a_way_out(small: Path) -> None:
    """Damaged payloads were listed twice, and what to do was not said."""
    (victim,) = small.glob("collections/*/segments/*/payload")
    data = bytearray(victim.read_bytes())
    data[len(data) // 2] ^= 1
    victim.write_bytes(data)
    done = run("check", small)
    assert (done.returncode, done.stderr) == (1, "")
    assert done.stdout.startswith("DAMAGED: 1 problem:")
    assert done.stdout.count(str(victim)) == 1
    assert "vecdb repair" in " ".join(done.stdout.split())


def test_a_damaged_derived_file_is_in_the_result_of_info(small: Path) -> None:
    """It was only in a warning on standard error, the status was 0."""
    (victim,) = small.glob("collections/*/segments/*/order")
    flip(victim)
    done = run("info", small)
    assert (done.returncode, done.stderr) == (1, "")
    assert re.search(rf"DAMAGED +{re.escape(str(victim))}: ", done.stdout)
    assert "no data is lost" in done.stdout
    report = json.loads(run("info", small, "--json").stdout)
    assert report["collections"]["c"]["damaged_files"][0]["path"] == str(victim)
    checked = run("check", small)
    assert (checked.returncode, checked.stderr) == (1, "")
    with vecdb.VecDB(small) as db:
        db.wait_for_optimizer()
    assert run("info", small).returncode == 0
    assert run("check", small).returncode == 0


# -- warmup ------------------------------------------------------------------------------------


@pytest.mark.skipif(library.path() is None, reason="no kernels compiled ahead of time")
def test_warmup_has_nothing_to_do_where_there_is_a_library() -> None:
    report = json.loads(run("warmup", "--json").stdout)
    assert report["library"] == str(library.path())
    assert report["kernels"] > 40
    assert not report["compiled"] + report["cached"] + report["unkept"]
    assert "nothing to do" in run("warmup").stdout


# -- every command -----------------------------------------------------------------------------


@pytest.mark.parametrize("command", ["info", "check"])
def test_no_database(command: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for path in (tmp_path, tmp_path / "missing", tmp_path / "file"):
        done = run(command, path)
        assert done.returncode == 2
        assert done.stdout == ""
        assert re.fullmatch(r"vecdb: .*not a vecdb database.*\n", done.stderr)
    assert [entry.name for entry in tmp_path.iterdir()] == ["file"]


def test_what_is_there_instead_of_a_database(small: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    collection = small / "collections" / "c"
    for path, why in [
        (tmp_path / "missing", "there is nothing of that name"),
        (tmp_path / "file", "it is a file"),
        (tmp_path, "it has no FORMAT file"),
        (collection, f"it is a collection; the database should be {small}"),
    ]:
        for command in (("info",), ("check",), ("repair", "--to", tmp_path / "x")):
            done = run(*command, path)
            assert (done.returncode, done.stdout) == (2, ""), (command, path)
            assert why in done.stderr
    with pytest.raises(vecdb.errors.NotADatabaseError, match="it is a collection"):
        vecdb.VecDB(collection)
    # ``check`` called the collection a damaged database, and made its lock file there.
    assert not (collection / "LOCK").exists()
    (small / "FORMAT").unlink()
    assert "`vecdb repair` saves" in run("check", small).stderr
    assert run("repair", small, "--to", tmp_path / "saved").returncode == 0


@pytest.mark.parametrize(
    "arguments",
    [("check", ""), ("repair", "", "--to", "x"), ("restore", "", "--to", "x"), ("demo", "")],
    ids=lambda arguments: arguments[0],
)
def test_an_empty_path_is_not_the_current_directory(
    arguments: tuple[str, ...], small: Path
) -> None:
    """Of a variable that is not set: it was read as ``.``, and ``restore`` failed with a traceback
    and the exit code of damage."""
    done = run(*arguments, cwd=small)
    assert (done.returncode, done.stdout) == (2, "")
    assert "expected a path, got an empty text" in done.stderr


def test_a_bug_of_ours_is_not_taken_for_damage(
    small: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The interpreter's exit code for a traceback is 1, which means "damaged" here."""

    def broken(path: Path) -> None:
        raise RuntimeError("planted")

    monkeypatch.setattr("vecdb.engine.repair.check.check_database", broken)
    assert main(["check", str(small)]) == 2
    assert "RuntimeError: planted" in capsys.readouterr().err


def test_check_of_an_open_database_names_the_process(tmp_path: Path) -> None:
    with vecdb.VecDB(tmp_path / "open.db"):
        done = run("check", tmp_path / "open.db")
    assert done.returncode == 2
    assert re.fullmatch(rf"vecdb: .*pid {os.getpid()}\b.*\n", done.stderr)


@pytest.fixture(params=[[], ["demo"], ["info"], ["check"], ["warmup"]], ids=" ".join)
def help_of(request: pytest.FixtureRequest) -> tuple[Sequence[str], str]:
    """A command and its help."""
    done = run(*request.param, "--help")
    assert done.returncode == 0
    return request.param, done.stdout


def test_help_has_an_example(help_of: tuple[Sequence[str], str]) -> None:
    command, text = help_of
    assert f"example: vecdb {command[0]}" in text if command else "Start with: vecdb demo" in text
    assert len(text.splitlines()) < 25


def test_without_arguments_it_is_help() -> None:
    assert run().stdout == run("--help").stdout


def test_version() -> None:
    assert run("--version").stdout == f"vecdb {vecdb.__version__}\n"


def test_unknown_command() -> None:
    done = run("destroy")
    assert done.returncode == 2
    assert "destroy" in done.stderr
    assert "Traceback" not in done.stderr


def test_help_loads_neither_numba_nor_lmdb() -> None:
    code = (
        "import sys\n"
        "from vecdb.cli.main import main\n"
        "assert main([]) == 0\n"
        "assert not {'numba', 'lmdb'} & set(sys.modules)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], env=ENVIRONMENT, capture_output=True, timeout=60
    )
    assert done.returncode == 0, done.stderr.decode()


def test_broken_pipe_is_quiet(demo: tuple[Path, dict[str, Any]]) -> None:
    path, _ = demo
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run(
        [*COMMAND, "info", str(path)], stdout=writer, stderr=subprocess.PIPE, env=ENVIRONMENT
    )
    os.close(writer)
    assert done.stderr == b""
    assert done.returncode == 141


# -- README ------------------------------------------------------------------------------------


def test_readme_example_runs(tmp_path: Path) -> None:
    readme = Path(__file__).parents[2] / "README.md"
    (example,) = re.findall(r"```python\n(.*?)```", readme.read_text(encoding="utf-8"), re.DOTALL)
    done = subprocess.run(
        [sys.executable, "-c", example],
        env=ENVIRONMENT,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("7 1.000 {'lang': 'en'}\n")
    assert "status green" in run("info", tmp_path / "my.db").stdout

"""``benchmarks.footprint``: it counts what the kernel counts, limits hold, and its page runs."""

from __future__ import annotations

import importlib.util
import json
import mmap
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from benchmarks.common import drop_from_cache, filesystem
from benchmarks.footprint import __main__ as program
from benchmarks.footprint import counters, groups, report
from benchmarks.footprint.cells import ALL_IN_RAM, ALL_ON_DISK, CELLS, CODES_IN_RAM, chosen
from benchmarks.footprint.groups import Group, NoGroup, Place

ROOT = Path(__file__).resolve().parents[2]
EXAMPLE = ROOT / "examples" / "data" / "debian-packages"
PAGE = ROOT / "docs" / "footprint.md"
PICTURES = importlib.util.find_spec("matplotlib") is not None

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the tool reads /proc")


@pytest.fixture
def real_disk(disk: Path) -> Path:
    if filesystem(disk) in ("tmpfs", "ramfs"):
        pytest.skip("the temporary directory is not on a disk")
    (disk / "counters").mkdir()
    return disk / "counters"


# -- counters ----------------------------------------------------------------------------------

SMAPS = """\
7f0000000000-7f0000003000 r--s 00000000 fe:00 11 /data/my db/segments/a b/vectors
Size:                 12 kB
Rss:                   8 kB
Pss:                   8 kB
VmFlags: rd sh mr mw me ms
7f0000003000-7f0000004000 r--s 00000000 fe:00 12 /data/my db2/vectors
Rss:                   4 kB
7f0000004000-7f0000005000 rw-p 00000000 00:00 0
Rss:                  16 kB
7f0000005000-7f0000006000 rw-p 00000000 00:00 0 [heap]
Rss:                  32 kB
7f0000006000-7f0000007000 r--s 00000000 fe:00 13 /data/my db/removed (deleted)
Rss:                  64 kB
"""


def test_only_mappings_below_the_directory_count() -> None:
    assert counters.of_mappings(SMAPS.splitlines(), Path("/data/my db")) == 1024 * (8 + 64)
    assert counters.of_mappings(SMAPS.splitlines(), Path("/data/my db2")) == 1024 * 4
    assert counters.of_mappings(SMAPS.splitlines(), Path("/data/my")) == 0


def test_what_is_touched_of_a_mapped_file_is_resident_and_cached(real_disk: Path) -> None:
    size = 64 * mmap.PAGESIZE - 100
    (real_disk / "inside").mkdir()
    path = real_disk / "inside" / "file"
    path.write_bytes(os.urandom(size))
    drop_from_cache(real_disk)
    if counters.cached(real_disk):
        pytest.skip("this file system keeps pages")
    before, events = counters.memory(path.parent), counters.events()
    with open(path, "rb") as file:
        mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    assert sum(mapped[::4096]) > 0
    after = counters.memory(path.parent)
    assert before["database"] == 0
    assert after["database"] == 64 * mmap.PAGESIZE
    assert after["files"] >= after["database"]
    assert counters.memory(real_disk / "elsewhere")["database"] == 0
    assert counters.cached(real_disk) == 64 * mmap.PAGESIZE
    caused = counters.difference(counters.events(), events)
    assert caused["disk"] >= 64 * mmap.PAGESIZE
    assert caused["major"] >= 1
    mapped.close()
    assert counters.memory(path.parent)["database"] == 0


def test_anonymous_memory_is_no_memory_of_files() -> None:
    before = counters.memory(ROOT)
    block = mmap.mmap(-1, 64 << 20, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    block.write(b"1" * (64 << 20))
    grown = counters.difference(counters.memory(ROOT), before)
    block.close()
    assert grown["anonymous"] >= 64 << 20
    assert grown["private"] >= 64 << 20
    assert abs(grown["files"]) < 8 << 20


# -- control groups ----------------------------------------------------------------------------


def where(tmp_path: Path, cgroup: str, mounts: str) -> Place:
    (tmp_path / "cgroup").write_text(cgroup)
    (tmp_path / "mounts").write_text(mounts)
    return groups.place(tmp_path / "cgroup", tmp_path / "mounts")


def test_a_group_of_version_1_is_made_below_our_own(tmp_path: Path) -> None:
    own = tmp_path / "memory" / "us"
    own.mkdir(parents=True)
    found = where(
        tmp_path,
        "9:cpu,cpuacct:/other\n4:memory:/us\n0::/unified\n",
        f"cgroup2 {tmp_path}/unified cgroup2 rw 0 0\n"
        f"cgroup {tmp_path}/cpu cgroup rw,cpu,cpuacct 0 0\n"
        f"cgroup {tmp_path}/memory cgroup rw,relatime,memory 0 0\n",
    )
    assert found == Place(own, 1)


def test_a_group_of_version_2_is_made_where_memory_may_be_limited(tmp_path: Path) -> None:
    own = tmp_path / "user.slice" / "service" / "app"
    own.mkdir(parents=True)
    (own / "cgroup.subtree_control").write_text("\n")
    (own.parent / "cgroup.subtree_control").write_text("cpu memory pids\n")
    mounts = f"cgroup2 {tmp_path} cgroup2 rw,nsdelegate 0 0\n"
    assert where(tmp_path, "0::/user.slice/service/app\n", mounts) == Place(own.parent, 2)
    (own.parent / "cgroup.subtree_control").write_text("cpu pids\n")
    with pytest.raises(NoGroup, match="may limit memory"):
        where(tmp_path, "0::/user.slice/service/app\n", mounts)


def test_it_says_why_there_is_no_group(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(NoGroup, match="no control groups"):
        groups.place(tmp_path / "none", tmp_path / "none")
    with pytest.raises(NoGroup, match="counts memory"):
        where(tmp_path, "1:cpu:/\n", "cgroup /sys/fs/cgroup/cpu cgroup rw,cpu 0 0\n")
    monkeypatch.setattr("os.access", lambda *_: False)
    with pytest.raises(NoGroup, match="no right"):
        where(tmp_path, "1:memory:/\n", f"cgroup {tmp_path} cgroup rw,memory 0 0\n")


@pytest.mark.parametrize(
    ("version", "files"),
    [
        (1, {"memory.limit_in_bytes": "1000", "memory.memsw.limit_in_bytes": "1000"}),
        (2, {"memory.max": "1000", "memory.swap.max": "0"}),
    ],
)
def test_the_limit_is_of_memory_and_swap(
    tmp_path: Path, version: int, files: dict[str, str]
) -> None:
    with groups.limited(Place(tmp_path, version), "name", 1000) as group:
        written = {path.name: path.read_text() for path in group.path.iterdir()}
        for path in group.path.iterdir():  # the kernel's vanish with the group
            path.unlink()
        assert not group.killed()
        assert group.peak() is None
    assert written == files
    assert not group.path.exists()


def test_a_kill_is_seen_in_either_version(tmp_path: Path) -> None:
    (tmp_path / "memory.oom_control").write_text("oom_kill_disable 0\nunder_oom 0\noom_kill 1\n")
    (tmp_path / "memory.events").write_text("low 0\nhigh 0\nmax 12\noom 1\noom_kill 0\n")
    assert Group(tmp_path, 1).killed()
    assert not Group(tmp_path, 2).killed()


def test_a_process_that_does_not_fit_is_killed_and_one_that_fits_is_not() -> None:
    code = "import sys; x = b'1' * (int(sys.argv[1]) << 20); print(len(x) >> 20)"
    try:
        place = groups.place()
        for size, fits in ((8, True), (200, False)):
            with groups.limited(place, f"vecdb-test-{os.getpid()}", 64 << 20) as group:
                command = [*group.command, sys.executable, "-S", "-c", code, str(size)]
                done = subprocess.run(command, capture_output=True, text=True, check=False)
                assert group.killed() is not fits
                assert (done.stdout == f"{size}\n") is fits, done.stderr
                peak = group.peak()
                assert peak is None or size << 20 <= peak or not fits
                assert peak is None or peak <= 64 << 20
            assert not group.path.exists()
    except NoGroup as reason:
        pytest.skip(f"no control group here: {reason}")


# -- the table of cells, and options -------------------------------------------------------------


def test_cells_are_distinct_and_share_files_only_where_they_are_moved() -> None:
    assert len({cell.label for cell in CELLS}) == len(CELLS)
    for cell in CELLS:
        twins = [one for one in CELLS if one.files == cell.files]
        assert {(one.system, one.codes) for one in twins} == {(cell.system, cell.codes)}
        assert len(twins) == 1 or cell.moves


def test_cells_are_chosen_by_how_system_and_codes_begin() -> None:
    assert chosen(None, None, peers=True) == list(CELLS)
    assert {cell.system for cell in chosen(None, None, peers=False)} == {"vecdb"}
    some = chosen(["qdrant", "faiss"], ["scalar"], peers=True)
    assert [(cell.system, cell.mode) for cell in some] == [
        ("Qdrant Edge", mode) for mode in (ALL_IN_RAM, CODES_IN_RAM, ALL_ON_DISK)
    ]


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        (["--limits", "50"], "expected a size as 256MB"),
        (["--allow", "lots"], "--allow: expected a size"),
        (["--scale", "0"], "--scale: expected 1 or more"),
        (["--resume"], "--resume needs --json"),
    ],
)
def test_a_bad_option_says_what_was_expected(
    arguments: list[str], error: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        program._parse(["--data", "somewhere", *arguments])
    assert error in capsys.readouterr().err


def test_limits_are_sizes_or_shares() -> None:
    options = program._parse(["--data", "somewhere", "--limits", "100%,25%,256MB,1GiB"])
    assert options.limits == {"100%": 1.0, "25%": 0.25, "256MB": 256_000_000, "1GiB": 2**30}
    assert options.allow == 64 << 20


def test_a_run_goes_on_only_where_the_same_was_asked(tmp_path: Path) -> None:
    file = tmp_path / "result.json"
    options = program._parse(["--data", "somewhere", "--json", str(file), "--resume"])
    assert program._kept(options, {"recall": 0.95}) == []
    file.write_text(json.dumps({"asked": {"recall": 0.95}, "cells": [{"mode": ALL_IN_RAM}]}))
    assert program._kept(options, {"recall": 0.95}) == [{"mode": ALL_IN_RAM}]
    with pytest.raises(SystemExit, match=r"has recall 0\.95, and 0\.99 is asked for now"):
        program._kept(options, {"recall": 0.99})


# -- from the command line -----------------------------------------------------------------------


def footprint(
    *arguments: str | Path, cwd: Path = ROOT, module: str = "benchmarks.footprint"
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", module, *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        timeout=240,
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory, disk: Path) -> Path:
    """The results of a quick run. 20,000 vectors, so that there are codes."""
    file = tmp_path_factory.mktemp("footprint") / "result.json"
    workdir = disk / "quick"
    workdir.mkdir()
    done = footprint(
        *("--data", EXAMPLE, "--scale", "4", "--quick", "--no-peers", "--codes", "none,scalar"),
        *("--json", file, "--workdir", workdir),
    )
    if "is in memory" in done.stderr:
        pytest.skip("the temporary directory is not on a disk")
    assert done.returncode == 0, done.stderr
    assert "recall@10" in done.stdout
    assert list(workdir.iterdir()) == [], "it leaves nothing behind"
    return file


@pytest.mark.slow
def test_modes_differ_in_what_is_anonymous(file: Path) -> None:
    results: dict[str, Any] = json.loads(file.read_text())
    cells = {(cell["codes"], cell["mode"]): cell for cell in results["cells"]}
    assert set(cells) == {
        ("none", ALL_IN_RAM),
        ("none", ALL_ON_DISK),
        *(("scalar", mode) for mode in (ALL_IN_RAM, CODES_IN_RAM, ALL_ON_DISK)),
    }
    originals = results["original_bytes"]
    assert originals == 4 * results["setting"]["data"]["rows"] * results["setting"]["data"]["dim"]

    def anonymous(codes: str, mode: str) -> int:
        size: int = cells[codes, mode]["free"]["searched"]["anonymous"]
        return size

    # Scalar codes are a quarter of the originals.
    assert anonymous("none", ALL_IN_RAM) - anonymous("none", ALL_ON_DISK) > 0.9 * originals
    # Codes are not in RAM, too, where originals are.
    assert anonymous("scalar", ALL_IN_RAM) - anonymous("scalar", CODES_IN_RAM) > 0.65 * originals
    assert anonymous("scalar", CODES_IN_RAM) - anonymous("scalar", ALL_ON_DISK) > 0.2 * originals
    for cell in cells.values():
        free = cell["free"]
        assert free["warm"]["recall"] >= 0.9
        assert free["warm"]["searches"] == 20
        assert free["cold"]["searches"] == 10
        assert free["warm"]["each"]["disk"] == 0, "all of it is in the page cache"
        assert cell["disk_bytes"] >= originals
        if cell["mode"] == ALL_ON_DISK:
            assert free["searched"]["database"] > 0
            assert free["cold"]["each"]["disk"] > 0, "the first ones read the disk"


@pytest.mark.slow
def test_limits_are_measured_or_it_says_why_not(file: Path) -> None:
    results = json.loads(file.read_text())
    for cell in results["cells"]:
        if results["no_limits"]:
            assert "limits" not in cell
            continue
        [(name, one)] = cell["limits"].items()
        assert name == "100%"
        assert one["limit_bytes"] == results["original_bytes"] + (64 << 20)
        assert one["peak_bytes"] is None or one["peak_bytes"] <= one["limit_bytes"]
        if cell["mode"] == ALL_ON_DISK:
            assert one["warm"]["recall"] >= 0.9


@pytest.mark.slow
def test_fills_its_tables_and_draws(file: Path, tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    names = ["setting", "memory", "cold/debian-packages-20000", "cold/other"]
    page.write_text(
        "".join(f"<!-- bench:begin {n} -->\nold\n<!-- bench:end {n} -->\n" for n in names)
    )
    done = footprint("--json", file, "--markdown", page)
    assert done.returncode == 0, done.stderr
    filled = page.read_text()
    assert filled.count("old\n") == 1  # the other data set's
    assert len(re.findall(rf"\| +{ALL_ON_DISK} \|", filled)) == 4
    assert footprint("--json", file, "--markdown", page).returncode == 0
    assert page.read_text() == filled
    if not PICTURES:
        return
    done = footprint("--json", file, "--plots", tmp_path / "plots")
    assert done.returncode == 0, done.stderr
    pictures = {path.name for path in (tmp_path / "plots").iterdir()}
    assert pictures >= {"debian-packages-20000-memory.png"}


def test_a_mode_that_does_not_fit_says_so_in_the_table() -> None:
    searched = {"p50": 1000.0, "each": {"disk": 8192.0}}
    cell: dict[str, Any] = {
        "system": "vecdb",
        "version": "1",
        "codes": "none",
        "mode": ALL_IN_RAM,
        "free": {"warm": searched, "cold": searched},
        "limits": {
            "50%": {"limit_bytes": 2**20, "warm": searched, "cold": searched},
            "1MB": {"limit_bytes": 10**6, "failed": "did not fit"},
        },
    }
    text = report._limits({"cells": [cell]})
    assert re.search(r"\|\s+1 \|\s+1 \|\s+1 \|\s+2 \|\s+did not fit \|\s+– \|\s+– \|", text)
    assert "50% (1.0 MiB): cold" in text


# -- docs/footprint.md ---------------------------------------------------------------------------


def commands() -> list[str]:
    """Those of the page."""
    blocks = re.findall(r"^```sh\n(.*?)^```", PAGE.read_text(encoding="utf-8"), re.M | re.S)
    lines = [line.partition("#")[0].strip() for block in blocks for line in block.splitlines()]
    return [line for line in lines if line.startswith("python -m benchmarks.footprint")]


@pytest.mark.slow
def test_every_command_of_the_page_runs(disk: Path, tmp_path: Path) -> None:
    """In their order, on the example's data, quickly."""
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "footprint.md").write_text(PAGE.read_text(encoding="utf-8"))
    known = commands()
    assert len(known) >= 3
    for line in known:
        _, _, module, *words = shlex.split(line)
        if "--plots" in words and not PICTURES:
            continue
        words = [str(EXAMPLE) if word == "DIR" else word for word in words]
        if "--data" in words:
            words += ["--quick", "--codes", "none", "--no-peers", "--workdir", str(disk)]
            words += ["--rows", "2000"]
        if module.endswith(".building"):
            words += ["--rows", "3000", "--workdir", str(disk)]
        done = footprint(*words, cwd=tmp_path, module=module)
        if "is in memory" in done.stderr:
            pytest.skip("the temporary directory is not on a disk")
        assert done.returncode == 0, f"{line}\n{done.stderr}"


def test_every_table_of_the_page_is_one_that_is_made() -> None:
    names = re.findall(r"<!-- bench:begin ([^ /]+)", PAGE.read_text(encoding="utf-8"))
    assert set(names) >= {"memory", "cold", "limits"}
    assert set(names) <= set(report.TABLES)

"""Short runs of ``proofs.powerloss``: every disk a power loss may leave recovers, planted bugs
do not go unnoticed, and what is kept of a failure replays it.
"""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
from kill_client import environment
from running_proofs import command, run

from proofs.model.oracle import SCALE

pytestmark = pytest.mark.crash

PROOF = "powerloss"
WORKLOADS = ["index-writing", "merge-payloads", "never-group", "restore", "killed-collections"]


def figures_of(tmp_path: Path, *arguments: object, code: int = 0) -> dict[str, Any]:
    """The figures of a run, which must end as expected. Skips where strace is not to be had."""
    found = tmp_path / "figures.json"
    done = run(PROOF, *arguments, "--keep", tmp_path / "kept", "--json", found)
    if done.returncode == 2:
        pytest.skip(done.stderr)
    assert done.returncode == code, done.stdout + done.stderr
    figures: dict[str, Any] = json.loads(found.read_text())
    return figures


@pytest.mark.slow
@pytest.mark.timeout(300 * SCALE)
def test_every_disk_a_power_loss_leaves_recovers(tmp_path: Path) -> None:
    figures = figures_of(tmp_path, "--workload", *WORKLOADS, "--limit", 20 * SCALE)
    assert figures["failed"] == 0
    assert figures["images"] > 50 * SCALE
    assert [row["workload"] for row in figures["workloads"]] == WORKLOADS
    assert all(row["moments"] > 50 and row["images"] > 10 for row in figures["workloads"])
    assert not (tmp_path / "kept").exists()


@pytest.mark.slow
@pytest.mark.parametrize(
    "mutant", ["no_wal_dir_sync", "sources_removed_without_commit", "build_forgets_later_edits"]
)
def test_a_planted_bug_is_caught(mutant: str, tmp_path: Path) -> None:
    figures = figures_of(tmp_path, "--mutant", mutant, "--limit", 60)
    (row,) = figures["mutants"]
    assert row["caught"]
    assert row["failed"] < row["images"], "not every image can have been touched by the bug"


@pytest.mark.slow
def test_a_failure_is_kept_and_replayed(tmp_path: Path) -> None:
    # Here the bug is in the process that opens the images: every recovery goes wrong.
    mutant, kept = "checkpoint_of_later_masks", tmp_path / "kept"
    ingest = ["--workload", "ingest", "--limit", 10, "--keep", kept]
    done = run(PROOF, *ingest, mutant=mutant)
    if done.returncode == 2:
        pytest.skip(done.stderr)
    assert done.returncode == 1, done.stdout + done.stderr
    (image, *_) = sorted((kept / "ingest-1").glob("image-*"))
    number = image.name.removeprefix("image-")
    recording = ["--recording", kept / "ingest-1" / "recording"]
    replay = ["--workload", "ingest", "--image", number, *recording]
    assert f"-m proofs.powerloss {' '.join(map(str, replay))}" in done.stdout
    problem = next(line for line in done.stdout.splitlines() if f"image {number}," in line)
    again = run(PROOF, *replay, "--keep", tmp_path / "again", mutant=mutant)
    assert again.returncode == 1
    assert problem in again.stdout
    assert files(tmp_path / "again" / "ingest-1" / image.name) == files(image)
    without = run(PROOF, *replay)
    assert without.returncode == 0, without.stdout


def files(directory: Path) -> dict[str, bytes]:
    paths = [path for path in directory.rglob("*") if path.is_file()]
    assert paths
    return {str(path.relative_to(directory)): path.read_bytes() for path in paths}


def test_it_says_that_strace_is_missing() -> None:
    done = subprocess.run(
        command(PROOF), env={**environment(), "PATH": "/nowhere"}, capture_output=True, text=True
    )
    assert done.returncode == 2
    assert done.stderr == "strace is needed and not installed\n"


def test_every_mutant_has_a_workload_and_a_line() -> None:
    done = run(PROOF, "--mutant", "list")
    lines = done.stdout.splitlines()
    assert done.returncode == 0
    assert len(lines) >= 13
    assert all(len(line.split(maxsplit=1)) == 2 for line in lines)

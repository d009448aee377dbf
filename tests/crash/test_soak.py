"""A short run of ``proofs.soak``: it finds nothing, it finds a bug that is planted, and what it
keeps of a failure replays it.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from running_proofs import interrupted, run

from proofs.model.oracle import SCALE
from proofs.soak.world import READS, UPKEEP, WRITES
from vecdb import VecDB

pytestmark = pytest.mark.crash

PROOF = "soak"
# Public names of a database that are no operation, or that the soak has its own way to use.
OTHERWISE = {
    *("check_usable", "close", "collection", "damaged", "refresh", "info"),
    "snapshot_path",  # where snapshots are listed
    # Of the database, not of points: proofs.powerloss has them.
    *("update_collection_aliases", "get_aliases", "get_collection_aliases"),
}


@pytest.fixture
def keep(tmp_path: Path) -> Path:
    """Where a run keeps what failed."""
    path = tmp_path / "keep"
    path.mkdir()
    return path


@pytest.mark.slow
@pytest.mark.timeout(300 * SCALE)
def test_a_random_history_agrees_with_the_model(keep: Path, tmp_path: Path) -> None:
    figures_at = tmp_path / "figures.json"
    size = ("--operations", 1500 * SCALE, "--restarts", 5 * SCALE)
    done = run(PROOF, *size, "--keep", keep, "--json", figures_at)
    assert done.returncode == 0, done.stderr
    figures: dict[str, Any] = json.loads(figures_at.read_text())
    assert json.loads(done.stdout) == figures
    assert figures["operations"] == sum(figures["verbs"].values()) == 1500 * SCALE
    assert figures["restarts"] == 5 * SCALE
    assert figures["mismatches"] == 0
    assert figures["comparisons"] > figures["operations"]
    assert figures["readings"] > 0, "no reader compared anything"
    assert figures["replayed"] > 0, "no restart had anything to replay"
    assert list(keep.iterdir()) == []


def test_every_verb_is_drawn() -> None:
    drawn = {*WRITES, *READS, *UPKEEP}
    drawn |= {name.replace("create_", "delete_") for name in drawn}
    public = {name for name in dir(VecDB) if not name.startswith("_")}
    assert public - OTHERWISE <= drawn


@pytest.mark.slow
def test_a_planted_bug_is_found_and_replayed(keep: Path) -> None:
    mutant = "checkpoint_of_later_masks"
    size = ("--operations", 3000, "--restarts", 12)
    done = run(PROOF, *size, "--keep", keep, mutant=mutant)
    assert done.returncode == 1, f"{mutant} was not noticed:\n{done.stderr}"
    (kept,) = keep.iterdir()
    assert f"--again {kept}" in done.stderr
    again = run(PROOF, "--again", kept, mutant=mutant)
    assert again.returncode == 1, "once more there was nothing wrong"
    assert json.loads((kept / "soak.json").read_text())["problem"][:20] in again.stderr


@pytest.mark.slow
def test_a_handle_that_goes_by_paths_is_found(keep: Path) -> None:
    size = ("--operations", 3000, "--restarts", 3)
    done = run(PROOF, *size, "--keep", keep, mutant="paths_instead_of_places")
    assert done.returncode == 1, done.stderr


def test_ctrl_c_ends_it_and_leaves_nothing(keep: Path) -> None:
    interrupted(PROOF, "--keep", keep)
    assert list(keep.iterdir()) == []

"""Short runs of ``proofs.kill``: it finds nothing, it finds bugs that are planted, and what
it keeps of a failure replays it.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from running_proofs import interrupted, run

from proofs.model.oracle import SCALE

pytestmark = pytest.mark.crash

PROOF = "kill"


@pytest.mark.slow
@pytest.mark.timeout(300 * SCALE)
def test_kills_lose_nothing(tmp_path: Path) -> None:
    figures_at = tmp_path / "figures.json"
    done = run(PROOF, "--rounds", 12 * SCALE, "--keep", tmp_path, "--json", figures_at)
    assert done.returncode == 0, done.stderr
    figures: dict[str, Any] = json.loads(figures_at.read_text())
    assert json.loads(done.stdout) == figures
    assert figures["rounds"] == sum(figures["killed_while"].values()) == 12 * SCALE
    assert figures["lost"] == figures["resurrected"] == figures["duplicates"] == 0
    assert figures["acknowledged"] > 50
    assert figures["replayed"] > 0, "no round had anything to replay"
    assert figures["recovery_ms"]["p50"] > 0
    assert [p.name for p in tmp_path.iterdir()] == ["figures.json"]


@pytest.mark.slow
@pytest.mark.parametrize(
    "mutant", ["checkpoint_of_later_masks", "masks_of_the_pin", "columns_ignore_edits"]
)
def test_a_planted_bug_is_found_and_replayed(mutant: str, tmp_path: Path) -> None:
    done = run(PROOF, "--rounds", 100, "--keep", tmp_path, mutant=mutant)
    assert done.returncode == 1, f"{mutant} was not noticed:\n{done.stderr}"
    (kept,) = tmp_path.iterdir()
    assert f"--again {kept}" in done.stderr
    again = run(PROOF, "--again", kept, mutant=mutant)
    problem = json.loads((kept / "round.json").read_text())["problem"]
    assert again.returncode == 1, f"once more there was nothing wrong: {problem}"
    if not problem.startswith("Traceback"):  # else the process that was killed had met it itself
        assert again.stderr[:20] == problem[:20]


def test_ctrl_c_ends_it_and_leaves_nothing(tmp_path: Path) -> None:
    assert interrupted(PROOF, "--keep", tmp_path)["rounds"] > 0
    assert list(tmp_path.iterdir()) == []

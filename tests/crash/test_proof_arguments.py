"""What the proofs refuse at the door. Runs of nothing ended as if they had found nothing, and
a file for the figures that cannot be written was noticed when hours of work were done.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from running_proofs import run

pytestmark = pytest.mark.crash

PROGRAMS = (
    *("powerloss", "damage", "io_faults", "kill", "soak", "recall"),
    "prove",
)


@pytest.mark.slow
@pytest.mark.parametrize("program", PROGRAMS)
def test_figures_that_cannot_be_written(program: str, tmp_path: Path) -> None:
    for path in (tmp_path / "missing" / "figures.json", tmp_path):
        done = run(program, "--json", path)
        assert (done.returncode, done.stdout) == (2, "")
        assert "argument --json: " in done.stderr


@pytest.mark.slow
@pytest.mark.parametrize(
    ("program", "arguments", "reason"),
    [
        ("powerloss", ("--limit", "0"), "at least 1"),
        ("damage", ("--limit", "0"), "at least 1"),
        ("damage", ("--only", "nothing-of-this-name"), "no case has"),
        ("damage", ("--case", "typo"), "a case as it is printed"),
        ("damage", ("--mutant", "typo"), "no such mutant: typo"),
        ("io_faults", ("--every", "0"), "at least 1"),
        ("io_faults", ("--case", "typo:os/changes/EIO/once/1:stay"), "a case as it is printed"),
        ("kill", ("--rounds", "0"), "at least 1"),
        ("kill", ("--rounds", "many"), "at least 1"),
        ("kill", ("--again", "missing"), "round.json"),
        ("soak", ("--operations", "-5"), "at least 1"),
        ("soak", ("--again", "missing"), "soak.json"),
        ("prove", ("--only", "typo"), "invalid choice"),
        ("recall", ("--rows", "0"), "at least 1"),
        ("recall", ("--queries", "-1"), "at least 1"),
        ("recall", ("--codes", "typo"), "invalid choice"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else None,
)
def test_what_would_test_nothing(program: str, arguments: tuple[str, ...], reason: str) -> None:
    done = run(program, *arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert reason in done.stderr


def test_a_fault_that_no_call_meets_is_no_success() -> None:
    done = run("io_faults", "--case", "flush:os/changes/EIO/once/99999:close")
    assert done.returncode == 1
    assert "nothing was tested" in done.stderr


def test_figures_that_are_none(tmp_path: Path) -> None:
    page, figures = tmp_path / "page.md", tmp_path / "figures.json"
    page.write_text("no marks")
    for text, reason in [
        ("{}", "expected figures"),
        ('{"tests": {}}', "no figures yet"),
        ('{"tests": {"soak": {"figures": null}}}', "expected a page with the line"),
    ]:
        figures.write_text(text)
        done = run("prove", "--markdown", page, "--json", figures)
        assert done.returncode == 2
        assert reason in done.stderr
    assert page.read_text() == "no marks"

"""``proofs.integrations``: what it compares."""

from __future__ import annotations

from pathlib import Path

import pytest

from proofs.integrations import largest
from proofs.integrations.catalog import FLOWS, INTEGRATIONS
from proofs.integrations.outcomes import Comparison, compare, last_error, read, table

REPORT = """<?xml version="1.0"?>
<testsuites><testsuite>
<testcase classname="t" name="good"/>
<testcase classname="t" name="left out"><skipped message="no"/></testcase>
{cases}
</testsuite></testsuites>
"""
FAILS = """<testcase classname="t" name="{name}"><failure message="short">
&gt;   client.create_collection(vectors_config=given)
E   {error}
file.py:7: Error
</failure></testcase>"""


def report(path: Path, **errors: str) -> Path:
    """A report of one test that passes, one that is skipped, and these."""
    cases = [
        FAILS.format(name=name, error=error)
        if error
        else f'<testcase classname="t" name="{name}"/>'
        for name, error in errors.items()
    ]
    path.write_text(REPORT.format(cases="\n".join(cases)))
    return path


def test_what_passes_there_and_fails_here_is_found(tmp_path: Path) -> None:
    there = read(report(tmp_path / "a", bad="", both="ValueError: no"))
    here = read(report(tmp_path / "b", bad="TypeError: what", both="ValueError: no"))
    assert (there.skipped, len(there.passed), len(here.passed)) == (1, 2, 1)
    found = compare("program", there, here)
    assert found.failures == {"t::bad": "TypeError: what"}
    assert not found.is_well
    assert "1 FAILED" in table([found])
    assert "t::bad" in table([found])
    assert compare("program", there, there).is_well


def test_a_test_that_was_not_run_is_a_failure(tmp_path: Path) -> None:
    found = compare("p", read(report(tmp_path / "a", more="")), read(report(tmp_path / "b")))
    assert found.failures == {"t::more": "was not run"}


@pytest.mark.parametrize(
    "comparison",
    [Comparison("p", 0, 0), Comparison("p", 5, 5, trouble="no network")],
    ids=["nothing passed there", "trouble"],
)
def test_what_tested_nothing_is_not_well(comparison: Comparison) -> None:
    assert not comparison.is_well


def test_the_reason_is_read_off_what_was_raised_and_not_off_the_code() -> None:
    said = "message\n>   sparse_vectors_config={}\nE   KeyError: 3"
    assert last_error(said) == "KeyError: 3"


def test_every_program_has_tests_of_its_own_or_flows_of_ours() -> None:
    for each in INTEGRATIONS:
        assert bool(each.tests) != bool(each.flows), each.name
        assert each.flows is None or (FLOWS / each.flows).is_file(), each.name
        assert all("==" in pin for pin in (*each.requirements[:2], *each.bare)), each.name
    flows = {each.flows for each in INTEGRATIONS} | set(largest.FLOWS.values())
    assert {path.name for path in FLOWS.glob("test_*.py")} <= flows

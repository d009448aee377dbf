"""``proofs.integrations``: what it compares, and what it lets pass."""

from __future__ import annotations

from pathlib import Path

import pytest

from proofs.integrations import largest
from proofs.integrations.catalog import FLOWS, INTEGRATIONS, NEEDS, Expected
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
    there = read(report(tmp_path / "a", bad="", sparse="", both="ValueError: no"))
    here = read(
        report(
            tmp_path / "b",
            bad="TypeError: what",
            sparse="BadRequest: 'multivector_config': Qdrant's, not supported by vecdb",
            both="ValueError: no",
        )
    )
    assert (there.skipped, len(there.passed), len(here.passed)) == (1, 3, 1)
    found = compare("program", there, here, [Expected("::sparse$", "multivectors")])
    assert found.missing == {"multivectors": 1}
    assert found.failures == {"t::bad": "TypeError: what"}
    assert not found.is_well
    assert "1 FAILED" in table([found])
    assert "t::bad" in table([found])


def test_what_is_expected_to_fail_is_no_failure(tmp_path: Path) -> None:
    there = read(report(tmp_path / "a", several="", match=""))
    here = read(
        report(
            tmp_path / "b",
            several="BadRequest: 'multivector_config': Qdrant's, not supported by vecdb",
            match="BadRequest: filter.must[0].match: unknown ('text': Qdrant's, not supported)",
        )
    )
    expected = [Expected("several", "multivectors"), Expected("match", "text match")]
    found = compare("program", there, here, expected)
    assert found.missing == {"multivectors": 1, "text match": 1}
    assert found.is_well
    assert not compare("program", there, here, expected[:1]).is_well


def test_it_must_fail_for_that_reason(tmp_path: Path) -> None:
    there = read(report(tmp_path / "a", sparse=""))
    here = read(report(tmp_path / "b", sparse="KeyError: 3"))
    found = compare("program", there, here, [Expected("sparse", "multivectors")])
    assert found.failures == {"t::sparse": "KeyError: 3"}


def test_what_passes_though_it_was_expected_to_fail_is_reported(tmp_path: Path) -> None:
    both = read(report(tmp_path / "a", sparse=""))
    found = compare("program", both, both, [Expected("sparse", "multivectors")])
    assert found.pass_now == ["t::sparse"]
    assert found.is_well
    assert "t::sparse: passes now" in table([found])


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
        assert {expected.need for expected in each.expected} <= NEEDS.keys()
    flows = {each.flows for each in INTEGRATIONS} | set(largest.FLOWS.values())
    assert {path.name for path in FLOWS.glob("test_*.py")} <= flows

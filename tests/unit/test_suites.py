"""``proofs.suites``: which failures have a reason, and which have not."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from proofs.suites.catalog import NEEDS, SUITES, Expected, Suite
from proofs.suites.outcomes import Outcome, read, table

REPORT = """<?xml version="1.0" encoding="utf-8"?>
<testsuites><testsuite>
  <testcase classname="a" name="passes"/>
  <testcase classname="a" name="is_skipped"><skipped message="x"/></testcase>
  <testcase classname="a" name="several">
    <properties><property name="refused" value="PUT /collections/c: {&quot;error&quot;:
&quot;Wrong input: ('strict_mode_config': Qdrant's, not supported by vecdb)&quot;}"/></properties>
    <error message="assert False">E   assert False</error>
  </testcase>
  <testcase classname="a" name="on_purpose"><failure message="no">E   no</failure></testcase>
  <testcase classname="a" name="broken"><failure message="assert 1 == 2">text
E       assert 1 == 2</failure></testcase>
  <testcase classname="a" name="random_of_text"><failure message="assert 1 == 2"/>
<system-out>Failed with filter MatchText(text='x')</system-out></testcase>
  <testcase classname="a" name="random"><failure message="assert 1 == 2"/></testcase>
  <testcase classname="a" name="several_and_broken"><failure message="strict_mode">E   the
strict_mode is wrong</failure></testcase>
</testsuite></testsuites>
"""
SUITE = Suite(
    *("s", "o/r 0", ".", ()),
    expected=(
        Expected("::on_purpose$", "it is meant"),
        Expected("::random", "texts are", said="Failed with .*MatchText"),
    ),
)


@pytest.fixture
def outcome(tmp_path: Path) -> Outcome:
    report = tmp_path / "report.xml"
    report.write_text(REPORT)
    return read(SUITE, report)


def test_a_failure_needs_a_reason(outcome: Outcome) -> None:
    assert (outcome.passed, outcome.skipped) == (1, 1)
    assert outcome.missing == {"strict mode": 1}
    assert outcome.differs == {"it is meant": 1, "texts are": 1}
    # The word alone is no reason: the server must have said that it has not got it.
    assert list(outcome.failures) == ["a::broken", "a::random", "a::several_and_broken"]
    assert not outcome.is_well
    assert outcome.answerable == 6


def test_the_table_names_what_failed(outcome: Outcome) -> None:
    said = table([outcome, Outcome("t", trouble="no port")])
    assert "FAILED a::broken" in said
    assert "assert 1 == 2" in said
    assert "needs: strict mode: 1" in said
    assert "TROUBLE: no port" in said


def test_nothing_passed_is_no_success() -> None:
    assert not Outcome("s").is_well
    assert Outcome("s", passed=1).is_well


def test_the_catalog_is_sound() -> None:
    for words in NEEDS.values():
        re.compile(words)
    for suite in SUITES:
        repository, commit = suite.source.split()
        assert re.fullmatch(r"[\w-]+/[\w-]+", repository)
        assert re.fullmatch(r"[0-9a-f]{40}", commit)
        assert all("==" in each for each in suite.requirements)
        for expected in suite.expected:
            re.compile(expected.tests)
            re.compile(expected.said)

"""What the tests said, compared: what passes on Qdrant's local mode and fails on vecdb."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from xml.etree import ElementTree


@dataclass(frozen=True)
class Outcomes:
    """Of one run: the tests that passed, and what those that failed said."""

    passed: frozenset[str]
    failed: dict[str, str]
    skipped: int


def read(report: Path) -> Outcomes:
    """A report in the form of JUnit. Of a test that is run again, the best outcome."""
    passed: set[str] = set()
    failed: dict[str, str] = {}
    skipped = 0
    for case in ElementTree.parse(report).getroot().iter("testcase"):
        name = f"{case.get('classname')}::{case.get('name')}"
        wrong = [each for each in case if each.tag in ("failure", "error")]
        if wrong:
            failed[name] = "\n".join(f"{each.get('message')}\n{each.text}" for each in wrong)
        elif any(each.tag == "skipped" for each in case):
            skipped += 1
        else:
            passed.add(name)
    return Outcomes(frozenset(passed), failed, skipped)


@dataclass
class Comparison:
    """One program on both."""

    name: str
    qdrant: int
    vecdb: int
    failures: dict[str, str] = field(default_factory=dict)
    """Tests that pass on Qdrant's local mode alone, and the errors of vecdb."""
    trouble: str | None = None

    @property
    def is_well(self) -> bool:
        """Whether nothing has failed that should pass."""
        return self.trouble is None and not self.failures and self.qdrant > 0

    def summary(self) -> dict[str, Any]:
        """As JSON."""
        return {
            "name": self.name,
            "qdrant": self.qdrant,
            "vecdb": self.vecdb,
            "failures": self.failures,
            "trouble": self.trouble,
        }


def compare(name: str, on_qdrant: Outcomes, on_vecdb: Outcomes) -> Comparison:
    """Test by test."""
    found = Comparison(name, len(on_qdrant.passed), len(on_vecdb.passed))
    for test in sorted(on_qdrant.passed - on_vecdb.passed):
        found.failures[test] = last_error(on_vecdb.failed.get(test, "was not run"))
    return found


def last_error(said: str) -> str:
    """The lines of a failure that say what was raised, in the order they were."""
    lines = [line[1:].strip() for line in said.splitlines() if line.startswith("E ")]
    return "\n".join(lines)[-2000:] or said[:2000]


def table(comparisons: list[Comparison]) -> str:
    """For people."""
    lines = [f"{'':20} {'Qdrant':>7} {'vecdb':>7}"]
    for each in comparisons:
        why = [f"{len(each.failures)} FAILED"] if each.failures else []
        if each.trouble:
            why.append(f"TROUBLE: {each.trouble.splitlines()[0]}")
        lines.append(f"{each.name:20} {each.qdrant:7} {each.vecdb:7}  {', '.join(why)}".rstrip())
        for test, error in each.failures.items():
            lines += [f"    {test}", f"        {(error.splitlines() or [''])[-1][:200]}"]
    return "\n".join(lines)

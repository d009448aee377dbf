"""Outcomes: which tests of a suite passed, and why the others did not."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from proofs.suites.catalog import NEEDS, Suite


@dataclass
class Outcome:
    """Of one suite."""

    name: str
    passed: int = 0
    skipped: int = 0
    missing: Counter[str] = field(default_factory=Counter)
    """Tests that need what vecdb has not, by what."""
    differs: Counter[str] = field(default_factory=Counter)
    """Tests that fail because of what vecdb does in another way, by what."""
    failures: dict[str, str] = field(default_factory=dict)
    """The others, and what they said."""
    trouble: str | None = None

    @property
    def is_well(self) -> bool:
        """Whether each failure has a reason that is known."""
        return self.trouble is None and not self.failures and self.passed > 0

    @property
    def answerable(self) -> int:
        """The tests that need nothing that vecdb has not."""
        return self.passed + self.differs.total() + len(self.failures)

    def summary(self) -> dict[str, Any]:
        """As JSON."""
        return {
            "name": self.name,
            "passed": self.passed,
            "answerable": self.answerable,
            "skipped": self.skipped,
            "missing": dict(self.missing),
            "differs": dict(self.differs),
            "failures": self.failures,
            "trouble": self.trouble,
        }


def read(suite: Suite, report: Path) -> Outcome:
    """A report in the form of JUnit."""
    found = Outcome(suite.name)
    for case in ElementTree.parse(report).getroot().iter("testcase"):
        wrong = [each for each in case if each.tag in ("failure", "error")]
        if not wrong:
            skipped = any(each.tag == "skipped" for each in case)
            found.skipped += skipped
            found.passed += not skipped
            continue
        test = f"{case.get('classname')}::{case.get('name')}"
        refused = [each.get("value", "") for each in case.iter("property")]
        said = "\n".join([*refused, *(f"{each.get('message')}\n{each.text}" for each in wrong)])
        printed = "\n".join(each.text or "" for each in case.iter("system-out"))
        why = _reason(suite, test, said, printed)
        if why is None:
            found.failures[test] = said
        elif why in NEEDS:
            found.missing[why] += 1
        else:
            found.differs[why] += 1
    return found


def _reason(suite: Suite, test: str, said: str, printed: str) -> str | None:
    names = "\n".join(_refused(said))
    for need, words in NEEDS.items():
        if re.search(words, names):
            return need
    for expected in suite.expected:
        if re.search(expected.tests, test) and re.search(expected.said, f"{said}\n{printed}"):
            return expected.why
    return None


_UNSUPPORTED = re.compile(
    r"(\w+): Qdrant's, not supported by vecdb"
    r"|\(('\w+'(?:, '\w+')*): Qdrant's, not supported by vecdb"
    r"|(?:request: )?([\w' ]+) is Qdrant's, and not supported by vecdb"
    r"|datatype: expected one of [^()]*, got '(\w+)'"
    r"|(datatype: expected 'float32' for multivectors)"
    r"|(running in standalone mode)"
)


def _refused(said: str) -> Iterator[str]:
    """What the server says that it has not, by its name. Quotes may be escaped in what was said."""
    for found in _UNSUPPORTED.finditer(said.replace("\\'", "'")):
        yield next(filter(None, found.groups()))


def table(outcomes: list[Outcome]) -> str:
    """For people."""
    lines = [f"{'':16} {'passed':>7} {'of':>5}  {'':6}"]
    for each in outcomes:
        share = f"{each.passed / each.answerable:6.1%}" if each.answerable else ""
        lines.append(f"{each.name:16} {each.passed:7} {each.answerable:5}  {share}")
        for title, counted in (("needs", each.missing), ("differs", each.differs)):
            lines += [f"    {title}: {what}: {count}" for what, count in counted.most_common()]
        for test, said in each.failures.items():
            lines += [f"    FAILED {test}", f"        {_last(said)[:300]}"]
        if each.trouble:
            lines.append(f"    TROUBLE: {each.trouble}")
    return "\n".join(lines)


def _last(said: str) -> str:
    lines = [line[1:].strip() for line in said.splitlines() if line.startswith("E ")]
    return (lines or said.splitlines() or [""])[-1]

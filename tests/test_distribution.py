"""The distribution is vecdb-embedded: nobody is sent to another project's package.

What PyPI has as ``vecdb`` is not ours. Whoever follows a page, a message or a comment here must
not install it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
NAME = "vecdb-embedded"
FOLDERS = (
    *(".ci", "benchmarks", "docs", "examples", "findings", "proofs"),
    *("tests", "vecdb"),
)

# The name alone: not in a path, not in a longer name.
_ALONE = r"(?<![\w./-])vecdb(?![\w/-]|\.\w)"
WRONG = {
    "an installation": re.compile(
        r"\b(?:(?:pip[\d.]*|pipx|conda) install|(?:uv|poetry|pdm) add|uvx|pipx run)\b"
        rf"[^\n`&|;]*?{_ALONE}"
    ),
    "a requirement": re.compile(r"""(?<![\w./-])vecdb(?:\[|["']?\s*(?:[=~!]=|[<>]=?)\s*["']?\d)"""),
    "a look-up": re.compile(
        r"""\b(?:version|distribution|metadata|requires|files)\(\s*["']vecdb["']"""
    ),
}


def texts() -> Iterator[tuple[str, str]]:
    """Every text file of the project, but this one."""
    paths = [path for path in ROOT.iterdir() if path.is_file()]
    paths += [path for folder in FOLDERS for path in (ROOT / folder).rglob("*") if path.is_file()]
    for path in paths:
        if path == Path(__file__) or "__pycache__" in path.parts:
            continue
        try:
            yield path.relative_to(ROOT).as_posix(), path.read_text(encoding="utf-8")
        except UnicodeDecodeError:  # data
            continue


def test_nothing_sends_anybody_to_another_project() -> None:
    seen = set()
    found = []
    for name, text in texts():
        seen.add(name)
        for what, pattern in WRONG.items():
            found += [f"{name}: {what}: {match[0]!r}" for match in pattern.finditer(text)]
    assert not found, "\n".join(found)
    assert {"README.md", "pyproject.toml", ".ci/run", "docs/quickstart.md"} <= seen


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("pip install vecdb", "an installation"),
        ("pip install -U 'vecdb'", "an installation"),
        ("python -m pip install numpy vecdb.", "an installation"),
        ("uv add vecdb", "an installation"),
        ("pip install vecdb==0.1.0", "an installation"),
        ("install vecdb[server]", "a requirement"),
        ('dependencies = ["vecdb>=0.1"]', "a requirement"),
        ('metadata.version("vecdb")', "a look-up"),
    ],
)
def test_what_would_send_them_there_is_found(text: str, what: str) -> None:
    """The test above would pass as well if it recognised nothing."""
    assert WRONG[what].search(text)


@pytest.mark.parametrize(
    "text",
    [
        "pip install vecdb-embedded",
        "pip install 'vecdb-embedded[test]'",
        "pip install -e . && .venv/bin/vecdb demo",
        "pip install . ; vecdb demo",
        "vecdb.models",
        'metadata.version("vecdb-embedded")',
    ],
)
def test_what_is_right_is_left_alone(text: str) -> None:
    assert not [what for what, pattern in WRONG.items() if pattern.search(text)]


def test_a_wheel_has_the_package_and_nothing_beside_it() -> None:
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    wheel = text.split("[tool.hatch.build.targets.wheel]")[1].split("[")[1]
    assert wheel.split("]")[0] == '"vecdb"'


def test_the_project_has_the_name_and_its_extras_name_itself() -> None:
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    assert re.search(rf'^name = "{NAME}"', text, re.MULTILINE)
    assert f'dev = ["{NAME}[test]"' in text

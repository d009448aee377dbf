"""A skip that is met on every machine is a failure: nobody would see that nothing was tested."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

TESTS = Path(__file__).parent.parent


def run(path: Path, code: str) -> str:
    """What pytest says of a module, under the rules of tests/conftest.py."""
    (path / "test_it.py").write_text("import pytest\n" + code)
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "conftest", "-p", "no:cacheprovider", path],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(map(str, (TESTS, TESTS.parent)))},
        cwd=path,
        text=True,
        capture_output=True,
    )
    return done.stdout.splitlines()[-1]


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("def test_it(): pytest.importorskip('no_such_module')", "1 failed in"),
        ("pytest.importorskip('no_such_module')", "1 error in"),
        ("@pytest.mark.skip(reason='later')\ndef test_it(): pass", "1 error in"),
        ("@pytest.mark.parametrize('x', [])\ndef test_it(x): pass", "1 error in"),
        ("def test_it(): pytest.skip('takes another user')", "1 skipped in"),
        ("@pytest.mark.xfail\ndef test_it(): raise ValueError", "1 xfailed in"),
        ("def test_it(): pass", "1 passed in"),
    ],
)
def test_only_allowed_skips_are_skips(tmp_path: Path, code: str, expected: str) -> None:
    assert run(tmp_path, code).startswith(expected)

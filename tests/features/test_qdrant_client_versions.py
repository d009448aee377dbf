"""The oldest version of Qdrant's client that the extra takes; all other tests have the newest."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TESTS = [
    f"tests/features/test_qdrant_client{name}.py"
    for name in ("", "_addresses", "_answers", "_async", "_programs")
]
ANSWERS = "tests/features/test_qdrant_client_answers.py::test_a_call_is_answered_as_in_local_mode"
# What its local mode answered in another way than the newest does, and vecdb with it.
MENDED_SINCE = [
    f"{ANSWERS}[query in an order]",  # the score was 0, not 1
    f"{ANSWERS}[query of various]",  # an offset was taken off the candidates of MMR
]
# Says which client it found, before anything else.
RUN = """
import sys, pathlib, pytest, qdrant_client
from importlib.metadata import version
print(version("qdrant-client"), pathlib.Path(qdrant_client.__file__).parents[1], flush=True)
sys.exit(pytest.main(sys.argv[1:]))
"""


@pytest.mark.slow
def test_the_oldest_client_passes_the_same_tests(tmp_path: Path) -> None:
    """Takes the network: pip installs that client, and nothing else, in a directory of its own."""
    extra = re.search(r'"qdrant-client>=([\d.]+)"', (ROOT / "pyproject.toml").read_text())
    assert extra is not None
    oldest = f"{extra[1]}.0"
    pip = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--target", str(tmp_path)]
    subprocess.run([*pip, f"qdrant-client=={oldest}"], check=True, timeout=120)
    without = [f"--deselect={test}" for test in MENDED_SINCE]
    done = subprocess.run(
        [sys.executable, "-c", RUN, "-n0", "-q", "-p", "no:cacheprovider", *TESTS, *without],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), str(ROOT)])},
        capture_output=True,
        text=True,
        timeout=250,
    )
    assert done.stdout.startswith(f"{oldest} {tmp_path}\n"), done.stdout[:500] + done.stderr
    assert done.returncode == 0, done.stdout[-5000:] + done.stderr[-2000:]

"""The test's end of ``kill_server``."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import vecdb

HERE = Path(__file__).resolve().parent


def environment() -> dict[str, str]:
    """Variables with which a child process finds vecdb, its proofs, and what the tests share."""
    root = Path(vecdb.__file__).resolve().parent.parent
    paths = [HERE, HERE.parent, root]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, paths))}


class KillServer:
    """One job at a time: ``start``, then perhaps kill it, then ``finish``."""

    def __init__(self, errors: Path) -> None:
        self._errors = errors
        with open(errors, "wb") as stderr:
            self._process = subprocess.Popen(
                [sys.executable, str(HERE / "kill_server.py")],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=stderr,
                env=environment(),
                text=True,
            )

    def start(self, job: dict[str, Any]) -> int:
        """The pid of the process that does the job."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(job) + "\n")
        self._process.stdin.flush()
        return int(self._answer()["pid"])

    def finish(self) -> int:
        """Its exit code; negative: the signal that killed it."""
        return os.waitstatus_to_exitcode(int(self._answer()["status"]))

    def run(self, job: dict[str, Any]) -> int:
        self.start(job)
        return self.finish()

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        assert line, f"the kill server died:\n{self.errors()}"
        answer: dict[str, Any] = json.loads(line)
        return answer

    def errors(self) -> str:
        """What it and its children said on standard error."""
        return self._errors.read_text()

    def close(self) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait(60)
        self._process.stdout.close()

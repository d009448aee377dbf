"""The other end of ``benchmarks.worker``: starting a worker, asking it, ending it."""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.data import Data

ROOT = Path(__file__).resolve().parent.parent
TIMEOUT = 1800.0


class Failed(Exception):
    """A system raised an error, ended, or did not answer in time."""


class Process:
    """A worker for one system. A context manager; ending it twice does no harm."""

    def __init__(
        self,
        label: str,
        data: Data,
        directory: Path,
        cores: list[int],
        first: dict[str, Any] | None = None,
        module: str = "benchmarks.worker",
        arranged: dict[str, str] | None = None,
        within: Sequence[str] = (),
    ) -> None:
        """``arranged``: codes and mode (``System.arrange``). ``within``: a command that becomes
        the one that follows, but elsewhere."""
        self.label, self.directory = label, directory
        queries = data.base_path.parent / "queries.npy"
        order = {
            "system": label,
            "directory": str(directory),
            "base": str(data.base_path.resolve()),
            "queries": str(queries.resolve()),
            "limit": len(data.queries),
            "metric": data.metric,
            "cores": cores,
            "first": first,
            "arranged": arranged,
        }
        threads = str(len(cores))
        paths = [str(ROOT), os.environ.get("PYTHONPATH", "")]
        environment = {
            **os.environ,
            "PYTHONPATH": os.pathsep.join(filter(None, paths)),
            "OMP_NUM_THREADS": threads,
            "OPENBLAS_NUM_THREADS": threads,
            "RAYON_NUM_THREADS": threads,
        }
        command = [*within, sys.executable, "-m", module, json.dumps(order)]
        self._errors = open(directory.with_name(f"{directory.name}.stderr"), "wb+")  # noqa: SIM115
        self.started = time.perf_counter()
        self._process = subprocess.Popen(
            command,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
        )

    def __enter__(self) -> Process:
        return self

    def __exit__(self, *_: object) -> None:
        self.end()

    def ask(self, do: str, timeout: float = TIMEOUT, **arguments: Any) -> Any:
        """Send a request and wait for its answer. Raises Failed, and then the worker is ended."""
        pipe = self._process.stdin
        assert pipe is not None
        try:
            pipe.write(json.dumps({"do": do, **arguments}).encode() + b"\n")
            pipe.flush()
        except OSError:
            pass  # it has ended: the answer says so
        return self.answer(timeout, do)

    def answer(self, timeout: float = TIMEOUT, do: str = "start") -> Any:
        """The next answer of the worker."""
        pipe = self._process.stdout
        assert pipe is not None
        ready, _, _ = select.select([pipe], [], [], timeout)
        line = pipe.readline() if ready else b""
        if not line:
            if ready:
                why = f"its process ended: {self._last_words()}"
            else:
                why = f"no answer within {timeout:.0f} s"
            self.end(kill=True)
            raise Failed(f"{do}: {why}")
        answer = json.loads(line)
        if "error" in answer:
            self.end(kill=True)
            raise Failed(f"{do}: {answer['error']}")
        return answer["ok"]

    def end(self, kill: bool = False) -> None:
        """Close the pipe, wait; kill what does not go."""
        process = self._process
        if kill:
            process.kill()
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            process.stdin.close()
        except OSError:
            pass
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        process.stdout.close()
        self._errors.close()

    def _last_words(self) -> str:
        self._errors.seek(0)
        lines = self._errors.read().decode(errors="replace").strip().splitlines()
        return lines[-1] if lines else f"exit status {self._process.wait()}"

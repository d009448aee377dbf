"""Serving: ``vecdb serve`` in a process of its own, for the proofs that ask a server."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


@dataclass(frozen=True)
class Server:
    """One that answers. ``grpc_port`` is 0 if it speaks HTTP only."""

    process: subprocess.Popen[str]
    directory: Path
    port: int
    grpc_port: int

    @property
    def url(self) -> str:
        """Where HTTP is."""
        return f"http://127.0.0.1:{self.port}"


@contextmanager
def serving(
    *options: str,
    port: int = 0,
    directory: Path | None = None,
    program: str | None = None,
    errors: int | None = None,
) -> Iterator[Server]:
    """A server on a new database, or on that in ``directory``, for the length of the block.
    ``program``: Python's, to run in the place of the command. ``errors``: the descriptor of where
    its standard error goes; None: that of this process.

    Raises RuntimeError if it does not come up, or does not end well at a signal.
    """
    command = ["-m", "vecdb"] if program is None else ["-c", program]
    with tempfile.TemporaryDirectory(prefix="vecdb-serving-") as temporary:
        place = Path(temporary) / "db" if directory is None else directory
        words = ("serve", str(place), "--port", str(port), "--json", *options)
        process = subprocess.Popen(
            [sys.executable, *command, *words],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            env=_environment(),
        )
        assert process.stdout is not None
        try:
            said = "".join(_document(process.stdout))
            if not said:
                raise RuntimeError(f"the server did not come up: exit code {process.wait(60)}")
            ports = {name: int(at.rpartition(":")[2]) for name, at in json.loads(said).items()}
            yield Server(process, place, ports["listening"], ports.get("grpc", 0))
            process.terminate()
            if process.wait(60) != 0:
                raise RuntimeError(f"the server ended with exit code {process.returncode}")
        finally:
            process.kill()
            process.wait()
            process.stdout.close()


def _document(lines: Iterable[str]) -> Iterator[str]:
    """The lines of what it says first, which is an object of JSON."""
    for line in lines:
        yield line
        if line == "}\n":
            return


def _environment() -> dict[str, str]:
    """Of this process, without keys and addresses of other servers."""
    others = ("VECDB_API", "VECDB_ALT", "VECDB_READ", "QDRANT_")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(others)}
    path = os.pathsep.join(filter(None, [str(ROOT), kept.get("PYTHONPATH")]))
    return {**kept, "PYTHONPATH": path}

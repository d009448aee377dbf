"""Running: a copy of a suite's sources, what it needs, a new server, and the report."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path

from proofs.serving import ROOT, serving
from proofs.suites.catalog import Suite
from vecdb.server.settings import GRPC_PORT, PORT

_PNPM = "pnpm@10.20.0"
_MINUTES = 60
_SNAPSHOTS = ("--snapshot-urls", "--snapshot-host", "localhost")
"""A test serves some itself."""


class Trouble(Exception):
    """A suite could not be run."""


def run(suite: Suite, checkout: Path, directory: Path) -> Path:
    """Run a suite from a checkout of its source; its report, in the form of JUnit. What it needs is
    installed in ``directory``, and found there by the next run. Raises Trouble."""
    for port in (PORT, GRPC_PORT):
        _check_free(port)
    place = directory / suite.name
    sources = place / "sources"
    ready, needed = place / "ready", "\n".join((suite.source, *suite.requirements))
    if not ready.exists() or ready.read_text() != needed:
        shutil.copytree(
            checkout, sources, dirs_exist_ok=True, ignore=shutil.ignore_patterns(".git")
        )
        _install(suite, place, sources)
        ready.write_text(needed)
    report = place / "report.xml"
    report.unlink(missing_ok=True)
    with (
        serving("--sync", "never", *_SNAPSHOTS, "--grpc-port", str(GRPC_PORT), port=PORT),
        (place / "log").open("w") as log,
    ):
        subprocess.run(
            _command(suite, place, report),
            cwd=sources / suite.place,
            env=_environment(suite),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            timeout=_MINUTES * 60,
        )
    if not report.exists():
        raise Trouble(f"{suite.name}: the tests wrote no report; see {log.name}")
    return report


def _check_free(port: int) -> None:
    with socket.socket() as trial:
        trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            trial.bind(("127.0.0.1", port))
        except OSError:
            raise Trouble(f"port {port} is taken, and the tests ask there") from None


def _install(suite: Suite, place: Path, sources: Path) -> None:
    if suite.requirements:
        _do(place, sys.executable, "-m", "venv", "venv")
        _do(place, "venv/bin/python", "-m", "pip", "-q", "install", *suite.requirements)
    else:  # the versions are those of the lock file
        options = ("--ignore-scripts", "--frozen-lockfile")
        _do(sources, "npx", "--yes", _PNPM, "install", *options)


def _do(place: Path, *words: str) -> None:
    done = subprocess.run(
        words, cwd=place, stdin=subprocess.DEVNULL, capture_output=True, text=True
    )
    if done.returncode != 0:
        raise Trouble(f"{' '.join(words)}: {(done.stderr or done.stdout)[-2000:]}")


def _command(suite: Suite, place: Path, report: Path) -> list[str]:
    if not suite.requirements:
        config = ("--config", "vitest.integration.config.ts")
        written = ("--reporter=junit", f"--outputFile={report.absolute()}")
        return ["node_modules/.bin/vitest", "run", *config, *written]
    python = str((place / "venv" / "bin" / "python").absolute())
    # One of the tests makes 20,000 requests one after the other.
    options = ("-q", "-p", "no:cacheprovider", "-p", "proofs.suites.plugin", "--timeout=400")
    left_out = (f"--deselect={test}" for test in suite.left_out)
    # What a test printed is in the report, too: of a random filter only that tells which it was.
    told = (f"--junitxml={report.absolute()}", "-o", "junit_logging=system-out")
    plain = ("-o", "addopts=", *told)
    return [python, "-m", "pytest", *options, *plain, *left_out, *suite.tests]


def _environment(suite: Suite) -> dict[str, str]:
    kept = {name: os.environ[name] for name in ("HOME", "PATH", "TMPDIR") if name in os.environ}
    environment = {**kept, "PYTHONPATH": str(ROOT), "OPENBLAS_NUM_THREADS": "1"}
    if suite.prefers_grpc:
        environment["VECDB_SUITES_GRPC"] = "1"
    return environment

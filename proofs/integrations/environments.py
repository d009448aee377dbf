"""An environment for each program: a virtual one, with the program, its sources and vecdb."""

from __future__ import annotations

import os
import subprocess
import sys
import tarfile
from pathlib import Path

from proofs.integrations.catalog import FLOWS, Integration

ROOT = Path(__file__).resolve().parent.parent.parent
_TESTS_NEED = ("pytest", "pytest-asyncio", "pytest-mock", "pytest-timeout")
_MINUTES = 20


class Trouble(Exception):
    """An environment could not be made."""


class Environment:
    """One program's, in a directory: made at its first use, and used again if it is there."""

    def __init__(self, integration: Integration, directory: Path) -> None:
        self.integration = integration
        self.directory = directory / integration.name
        self.python = self.directory / "venv" / "bin" / "python"

    def prepare(self) -> None:
        """Install everything. Raises Trouble, with what pip said."""
        done = self.directory / "ready"
        if done.exists():
            return
        self.directory.mkdir(parents=True, exist_ok=True)
        _run([sys.executable, "-m", "venv", str(self.directory / "venv")])
        vecdb = f"vecdb-embedded[qdrant] @ {ROOT.as_uri()}"
        self._pip("install", *self.integration.requirements, *_TESTS_NEED, vecdb)
        if self.integration.bare:
            self._pip("install", "--no-deps", *self.integration.bare)
        if self.integration.flows is None:
            self._fetch_sources()
        done.touch()

    def _fetch_sources(self) -> None:
        sources = self.directory / "sources"
        only = ("--no-deps", "--no-binary", ":all:", "--dest", str(sources))
        self._pip("download", *only, self.integration.distribution)
        for archive in sources.glob("*.tar.gz"):
            with tarfile.open(archive) as tar:
                tar.extractall(sources, filter="data")

    def _pip(self, *arguments: str) -> None:
        _run([str(self.python), "-m", "pip", "--disable-pip-version-check", "-q", *arguments])

    def _place(self) -> tuple[Path, list[str]]:
        """Where the tests are run, and which."""
        if self.integration.flows is not None:  # not with the options of this repository's tests
            options = ["-c", os.devnull, "--rootdir=.", "-o", "asyncio_mode=auto"]
            return FLOWS, [*options, self.integration.flows]
        unpacked = [path for path in (self.directory / "sources").iterdir() if path.is_dir()]
        return unpacked[0], list(self.integration.tests)

    def test(self, on: str) -> Path:
        """Run the tests ``on`` Qdrant or vecdb; the report, in the form of JUnit. Raises Trouble if
        there is none."""
        where, tests = self._place()
        report = self.directory / f"{on}.xml"
        report.unlink(missing_ok=True)
        swapped = ["-p", "proofs.integrations.swap"] if on == "vecdb" else []
        options = ["-q", "-p", "no:cacheprovider", "--timeout=300", f"--junitxml={report}"]
        environment = {
            **{name: os.environ[name] for name in ("HOME", "PATH", "TMPDIR") if name in os.environ},
            "OPENBLAS_NUM_THREADS": "1",
            "PYTHONPATH": str(ROOT),
            "PYTHONDONTWRITEBYTECODE": "1",
        }
        command = [str(self.python), "-m", "pytest", *options, *swapped, *tests]
        with (self.directory / f"{on}.log").open("w") as log:
            subprocess.run(
                command,
                cwd=where,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                timeout=_MINUTES * 60,
            )
        if not report.exists():
            raise Trouble(f"the tests wrote no report; see {log.name}")
        return report


def _run(command: list[str]) -> None:
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=_MINUTES * 60, stdin=subprocess.DEVNULL
    )
    if done.returncode != 0:
        raise Trouble(f"{' '.join(command)}: {done.stderr[-2000:]}")

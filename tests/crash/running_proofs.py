"""Running the programs of ``proofs`` as users do."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from typing import Any

from kill_client import environment


def command(proof: str, *arguments: object, mutant: str | None = None) -> list[str]:
    """With a bug planted in the engine, if one is named."""
    planted = ["proofs.powerloss.mutants", mutant] if mutant is not None else []
    return [sys.executable, "-m", *map(str, [*planted, f"proofs.{proof}", *arguments])]


def run(
    proof: str, *arguments: object, mutant: str | None = None
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command(proof, *arguments, mutant=mutant), env=environment(), capture_output=True, text=True
    )


def interrupted(proof: str, *arguments: object) -> dict[str, Any]:
    """Ctrl-C when there is some progress; the figures so far."""
    process = subprocess.Popen(
        command(proof, *arguments),
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stderr is not None
    said = b""
    while said.count(b"\r") < 3:  # its progress line, three times
        byte = process.stderr.read(1)
        assert byte, said.decode()
        said += byte
    process.send_signal(signal.SIGINT)
    output, errors = process.communicate(timeout=60)
    assert process.returncode == 130, output.decode() + errors.decode()
    assert b"Traceback" not in errors, errors.decode()
    figures: dict[str, Any] = json.loads(output)
    return figures

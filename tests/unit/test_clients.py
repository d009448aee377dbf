"""``proofs.clients``: what it says of a client, and which versions it asks for."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from proofs.clients.__main__ import run
from proofs.clients.building import CLIENTS, Client, Commands


@pytest.mark.parametrize("client", [each for each in CLIENTS if "rust" in each.name])
def test_crates_are_of_one_version(client: Client) -> None:
    """cargo took 1.20 where 1.12.1 was asked for: what is not said to be exact may be later."""
    version = client.packages[0].split()[0]
    assert version.startswith("qdrant-client@=1.")


def test_a_client_that_cannot_be_built(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It ended the proof, and the clients after it were not tried."""

    def build(client: Client, directory: Path) -> Commands:
        raise subprocess.CalledProcessError(101, "cargo")

    assert not run(Client("c", (), {}, build), tmp_path)
    assert "c: FAILED to be built" in capsys.readouterr().out

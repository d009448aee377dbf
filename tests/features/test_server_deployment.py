"""The unit for systemd and the Dockerfile of docs/server: what they run is a command that there is,
and what asks after the server's health says so when it is not well."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from serving import serving

from vecdb.cli.main import make_parser

PLACE = Path(__file__).resolve().parents[2] / "docs" / "server"
DOCKERFILE = (PLACE / "Dockerfile").read_text(encoding="utf-8")
UNIT = (PLACE / "vecdb.service").read_text(encoding="utf-8")


def entrypoint() -> list[str]:
    found = re.search(r"^ENTRYPOINT (\[.*\])$", DOCKERFILE, re.MULTILINE)
    assert found is not None
    words: list[str] = json.loads(found[1])
    return words


def of_unit(key: str) -> list[str]:
    """The values that a key of the unit has."""
    return re.findall(rf"^{key}=(.*)$", UNIT, re.MULTILINE)


def test_their_commands_are_vecdbs() -> None:
    commands = [entrypoint()]
    commands += [shlex.split(each) for each in of_unit("ExecStart")]
    assert len(commands) == 2
    for command in commands:
        assert Path(command[0]).name == "vecdb"
        make_parser().parse_args(command[1:])


def test_nobody_runs_as_root_and_little_can_be_written() -> None:
    assert re.search(r"^USER vecdb$", DOCKERFILE, re.MULTILINE)
    assert of_unit("DynamicUser") == ["yes"]
    assert of_unit("ProtectSystem") == ["strict"]
    assert of_unit("MemoryDenyWriteExecute") == ["yes"]
    assert re.findall(r"^VOLUME (.*)$", DOCKERFILE, re.MULTILINE) == ["/data"]


def test_the_health_check_tells_a_server_that_is_well_from_one_that_is_not(tmp_path: Path) -> None:
    found = re.search(r"HEALTHCHECK .*?CMD (\[.*?\])$", DOCKERFILE, re.MULTILINE | re.DOTALL)
    assert found is not None
    _, *words = json.loads(found[1])
    with serving(tmp_path / "db") as server:
        check = [sys.executable, *(each.replace("6333", str(server.port)) for each in words)]
        assert subprocess.run(check, capture_output=True, timeout=60).returncode == 0
    assert subprocess.run(check, capture_output=True, timeout=60).returncode != 0


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="needs systemd-analyze")
def test_systemd_understands_the_unit(tmp_path: Path) -> None:
    unit = tmp_path / "vecdb.service"
    program = tmp_path / "vecdb"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    here = UNIT.replace("/opt/vecdb/bin/vecdb", str(program))
    unit.write_text(here.replace("/usr/bin/curl", str(program)))
    done = subprocess.run(
        ["systemd-analyze", "verify", str(unit)], capture_output=True, text=True, timeout=60
    )
    assert (done.returncode, done.stderr) == (0, "")

"""``vecdb restore`` is killed at every call that writes: a new database is there wholly or not at
all, a collection of an existing one is the old or the restored, and restoring again works.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from kill_client import environment

from proofs.model.oracle import SCALE, require_sound
from vecdb import VecDB
from vecdb.engine.archive import restore
from vecdb.storage import layout

pytestmark = pytest.mark.crash

# A child for each line of JSON (kill_at, arguments), forked when everything is imported; answers
# with its status.
SERVER = """
import json, os, sys
from kill_server import KillPoints
from vecdb.cli.main import main
from vecdb.engine.archive import restore, snapshots
for line in sys.stdin:
    kill_at, arguments = json.loads(line)
    pid = os.fork()
    if pid == 0:
        sys.stdout = open(os.devnull, "w")
        KillPoints(kill_at).install()
        os._exit(main(arguments))
    print(os.waitpid(pid, 0)[1], flush=True)
"""


def put(db: VecDB, name: str, first: int, count: int) -> None:
    vectors = [[float(i)] * 8 for i in range(first, first + count)]
    db.upsert(name, {"ids": list(range(first, first + count)), "vectors": vectors})


def ids(db: VecDB, name: str) -> list[Any]:
    return [record.id for record in db.scroll(name, limit=10_000)[0]]


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("into", ["new", "existing"])
def test_every_kill_point_of_a_restore(into: str, tmp_path: Path) -> None:
    old, archive = tmp_path / "old", tmp_path / "archive"
    with VecDB(old) as db:
        for name in ("c", "d") if into == "new" else ("c",):
            db.create_collection(name, {"size": 8, "distance": "Dot"})
            put(db, name, 0, 20)
            db.flush()
            put(db, name, 20, 5)
        found = db.create_full_snapshot() if into == "new" else db.create_snapshot("c")
        [path] = db.path.glob(f"snapshots/**/{found.name}")
        shutil.copy(path, archive)
        put(db, "c", 100, 7)
    restored, before = list(range(25)), [*range(25), *range(100, 107)]
    where = tmp_path / "where"
    where.mkdir()
    root = where / "db"
    words = ["restore", str(archive), "--to", str(root), *(["--replace"] if into != "new" else [])]
    outcomes = set()
    with subprocess.Popen(
        [sys.executable, "-c", SERVER],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=environment(),
        text=True,
    ) as server:
        assert server.stdin is not None
        assert server.stdout is not None
        status, k = -1, 1
        while status != 0:
            if into == "existing":
                shutil.copytree(old, root)
            server.stdin.write(json.dumps([k, words]) + "\n")
            server.stdin.flush()
            status = os.waitstatus_to_exitcode(int(server.stdout.readline()))
            assert status in (0, -9), k
            for path in where.iterdir():
                assert path == root or layout.is_leftover(path.name), k
            if root.exists():
                require_sound(root)
                with VecDB(root) as db:
                    found_ids = ids(db, "c")
                    assert found_ids in ((restored,) if into == "new" else (before, restored)), k
                    outcomes.add(len(found_ids))
                    if into == "new":
                        assert ids(db, "d") == restored, k
                    put(db, "c", 500, 3)
                    hidden = [p.name for p in (root / "collections").iterdir() if p.name[0] == "."]
                    assert not hidden, k
                shutil.rmtree(root)
            else:
                assert into == "new"
                outcomes.add(0)
            assert restore.restore_database(archive, root)["c"] == 25
            for path in where.iterdir():
                shutil.rmtree(path)
            k += 1 if SCALE > 1 else 2
        server.stdin.close()
    assert k > 40
    assert outcomes == ({0, 25} if into == "new" else {25, 32})

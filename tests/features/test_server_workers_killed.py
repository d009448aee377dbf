"""``vecdb serve --workers``: its processes are killed, each in turn, while callers write.

What was acknowledged is there, what was acknowledged is read everywhere, and the server serves on.
"""

from __future__ import annotations

import threading
import time
from pathlib import Path

import httpx
import psutil
import pytest
from serving import Server, log_of, new_collection, result, serving, workers

from vecdb import VecDB

pytestmark = pytest.mark.crash

WORKERS = 3
CALLERS = 6


class Load:
    """Callers that write, each what nobody else does, and look at once whether it is there."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._lock = threading.Lock()
        self._end = False
        self.acknowledged: dict[int, int] = {}
        """What each point is to be: the step of its last write that was answered, or a later one
        that was not."""
        self.unsure: dict[int, set[int]] = {}
        self.answers = 0
        self.refusals = 0
        self.stale: list[str] = []
        self._threads = [
            threading.Thread(target=self._call, args=(number,)) for number in range(CALLERS)
        ]

    def __enter__(self) -> Load:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end = True
        for thread in self._threads:
            thread.join()

    def _call(self, number: int) -> None:
        step = 0
        with self._server.http() as writer, self._server.http() as reader:
            while not self._end:
                step += 1
                id = number * 1000 + step % 100
                point = {"id": id, "vector": [number, step, 1, 2], "payload": {"step": step}}
                try:
                    answer = writer.put("/collections/c/points", json={"points": [point]})
                except httpx.TransportError:  # it may have been done
                    self.unsure.setdefault(id, set()).add(step)
                    continue
                if answer.status_code == 503:
                    self.refusals += 1
                    self.unsure.setdefault(id, set()).add(step)
                    assert answer.headers["retry-after"] == "1"
                    time.sleep(0.02)
                    continue
                result(answer)
                with self._lock:
                    self.answers += 1
                self.acknowledged[id] = step
                self.unsure.pop(id, None)
                self._look(reader, id, step)

    def _look(self, reader: httpx.Client, id: int, step: int) -> None:
        sent = {"ids": [id], "with_payload": True}
        try:
            found = result(reader.post("/collections/c/points", json=sent))
        except httpx.TransportError:
            return
        if [each["payload"] for each in found] != [{"step": step}]:
            self.stale.append(f"{id}: wrote {step}, found {found}")

    def wait_for(self, more: int) -> None:
        """Until so many more writes are answered."""
        wanted = self.answers + more
        deadline = time.monotonic() + 120
        while self.answers < wanted:
            assert time.monotonic() < deadline, "the server does not serve on"
            time.sleep(0.01)

    def is_as_acknowledged(self, id: int, step: int) -> bool:
        return step == self.acknowledged[id] or step in self.unsure.get(id, ())


@pytest.mark.parametrize("sync", ["always", "interval"])
def test_any_process_may_be_killed_at_any_time(tmp_path: Path, sync: str) -> None:
    """The writer twice: what a successor has recovered is recovered again."""
    with serving(tmp_path / "db", "--workers", str(WORKERS), "--sync", sync) as running:
        with running.http() as http:
            new_collection(http, "c")
        with Load(running) as load:
            for number in (1, 0, 2, 0):
                load.wait_for(60)
                victim = workers(running)[number]
                victim.kill()
                victim.wait(60)
                deadline = time.monotonic() + 60
                while workers(running).get(number, victim).pid == victim.pid:
                    assert time.monotonic() < deadline
                    time.sleep(0.01)
            load.wait_for(60)
            assert not load.stale
            left = workers(running).values()
            running.process.kill()
            running.process.wait(60)
    assert not psutil.wait_procs(left, 60)[1]  # they have noticed
    assert len(load.acknowledged) >= 60
    with VecDB(tmp_path / "db") as db:
        found = db.retrieve("c", sorted(load.acknowledged), with_payload=True)
        steps = {int(str(each.id)): (each.payload or {}).get("step", 0) for each in found}
        assert steps.keys() == load.acknowledged.keys()
        wrong = {id: step for id, step in steps.items() if not load.is_as_acknowledged(id, step)}
        assert not wrong
        assert db.check().ok
    log = log_of(tmp_path / "db").read_text()
    assert log.count("ended by signal 9, and is started again") == 4, log

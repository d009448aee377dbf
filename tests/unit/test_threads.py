"""Work spread over threads: results in order, errors, and no waiting for one another."""

from __future__ import annotations

import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from vecdb.engine import parallel
from vecdb.engine.parallel import run_all


def test_results_come_in_order() -> None:
    assert run_all([lambda n=n: n for n in range(20)]) == list(range(20))  # type: ignore[misc]


def test_the_first_error_is_raised_when_what_was_begun_has_ended() -> None:
    begun, ended = threading.Event(), threading.Event()

    def first() -> None:
        begun.wait(10)
        raise ValueError("first")

    def second() -> None:
        begun.set()
        ended.wait(0.05)
        ended.set()
        raise ValueError("second")

    with pytest.raises(ValueError, match="first"):
        run_all([first, second])
    assert ended.is_set()
    with pytest.raises(ValueError, match="second"):
        run_all([lambda: None, second])


def test_tasks_with_tasks_of_their_own_do_not_wait_for_one_another(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Two batches of exact searches at once could hang: every thread of the pool waited for tasks
    that only the pool would have begun."""
    pool = ThreadPoolExecutor(2)
    monkeypatch.setattr(parallel, "_pool", lambda: pool)
    all_busy = threading.Barrier(3)

    def outer() -> list[int]:
        all_busy.wait(10)  # from here on no thread of the pool is free
        return run_all([lambda: 1, lambda: 2])

    answers: list[list[list[int]]] = []
    caller = threading.Thread(target=lambda: answers.append(run_all([outer] * 3)), daemon=True)
    caller.start()
    caller.join(20)
    if caller.is_alive():  # or the interpreter would wait for the pool for ever
        pool.shutdown(wait=False, cancel_futures=True)
    assert answers == [[[1, 2]] * 3]


def test_a_task_has_one_processor(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.sched_getaffinity", lambda _: {0, 1, 2}, raising=False)
    assert parallel.processors() == 3
    assert run_all([parallel.processors, parallel.processors]) == [1, 1]
    inner = run_all([lambda: (run_all([lambda: 0]), parallel.processors())])
    assert inner == [([0], 1)]

    def fails() -> None:
        raise ValueError("it failed")

    with pytest.raises(ValueError, match="it failed"):
        run_all([fails])
    assert parallel.processors() == 3


def test_threads_that_outlive_the_main_one_go_on() -> None:
    """Once the main thread has ended, pools take no tasks."""
    code = """
import threading
from vecdb.engine.parallel import run_all

def late():
    threading.main_thread().join()
    print(run_all([lambda: 1, lambda: 2]))

run_all([lambda: 0, lambda: 0])
threading.Thread(target=late).start()
"""
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert (ran.stdout.strip(), ran.stderr) == ("[1, 2]", "")

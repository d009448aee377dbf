"""The WAL: what was appended comes back, a torn tail is forgiven, damage is not."""

from __future__ import annotations

import errno
import os
import threading
from pathlib import Path
from typing import Any

import pytest

from vecdb.errors import CorruptionError, FormatVersionError, StorageFullError, WriteError
from vecdb.storage import fs
from vecdb.storage import wal as wal_module
from vecdb.storage.replay import Replay
from vecdb.storage.wal import Wal, wal_files

UUID = bytes(range(16))


def make(path: Path, frames: list[list[bytes]], level: Any = "always", first: int = 1) -> Wal:
    wal = Wal(path, UUID, level)
    wal.start_file(first)
    for operations in frames:
        wal.append(first, [[operation] for operation in operations])
        first += len(operations)
    return wal


def replay(path: Path, after: int = 0) -> tuple[list[tuple[int, bytes]], Replay]:
    state = Replay(path, UUID, after)
    return [(seq, bytes(data)) for seq, data in state.operations()], state


FRAMES = [[b"one"], [b"two" * 5, b"three"], [b""], [b"x" * 1000]]
ALL = [(1, b"one"), (2, b"two" * 5), (3, b"three"), (4, b""), (5, b"x" * 1000)]


def test_operations_come_back_in_order_and_from_any_seq(tmp_path: Path) -> None:
    make(tmp_path, FRAMES).close()
    assert replay(tmp_path)[0] == ALL
    for after in range(6):
        got, state = replay(tmp_path, after)
        assert got == ALL[after:]
        assert state.last_seq == max(after, 5)


def test_every_truncation_gives_a_prefix_of_whole_frames(tmp_path: Path) -> None:
    make(tmp_path, FRAMES).close()
    [(_, path)] = wal_files(tmp_path)
    whole = path.read_bytes()
    prefixes = [[], ALL[:1], ALL[:3], ALL[:4], ALL]
    for length in range(64, len(whole)):
        path.write_bytes(whole[:length])
        got, state = replay(tmp_path)
        assert got in prefixes
        assert (state.torn_bytes > 0) == (got != ALL and length > 64 and not _at_end(got, length))
    for length in range(64):
        path.write_bytes(whole[:length])
        with pytest.raises(CorruptionError, match=path.name):
            replay(tmp_path)


def _at_end(got: list[tuple[int, bytes]], length: int) -> bool:
    ends, at = [64], 64
    for operations in FRAMES:
        at += 40 + sum(8 + len(o) + -len(o) % 8 for o in operations)
        ends.append(at)
    return length in ends


def test_every_flipped_bit_is_damage_or_a_torn_last_frame(tmp_path: Path) -> None:
    make(tmp_path, FRAMES[:3]).close()
    [(_, path)] = wal_files(tmp_path)
    whole = path.read_bytes()
    last_frame = len(whole) - 40 - 8
    for at in range(len(whole)):
        for bit in (0, 7):
            damaged = bytearray(whole)
            damaged[at] ^= 1 << bit
            path.write_bytes(damaged)
            if at >= last_frame:
                try:
                    assert replay(tmp_path)[0] == ALL[:3]
                except CorruptionError:
                    continue
            else:
                with pytest.raises((CorruptionError, FormatVersionError), match=path.name):
                    replay(tmp_path)


def test_a_bad_frame_before_an_unsynced_one_is_a_power_loss_and_cuts_there(tmp_path: Path) -> None:
    make(tmp_path, FRAMES, level="never").close()
    [(_, path)] = wal_files(tmp_path)
    damaged = bytearray(path.read_bytes())
    damaged[64 + 48 + 20] ^= 1  # in the second frame
    path.write_bytes(damaged)
    got, state = replay(tmp_path)
    assert got == ALL[:1]
    assert state.torn_bytes > 0


def test_a_missing_file_is_damage_and_a_retired_one_that_came_back_is_not(tmp_path: Path) -> None:
    wal = make(tmp_path, [[b"one"]])
    wal.start_file(2)
    wal.append(2, [[b"two"]])
    wal.start_file(3)
    wal.append(3, [[b"three"]])
    wal.close()
    (tmp_path / f"{2:020d}.wal").unlink()
    with pytest.raises(CorruptionError, match="2 is missing"):
        replay(tmp_path, 0)
    # applied_seq 2: file 1 was retired, its unlink was lost, that of file 2 was not.
    assert replay(tmp_path, 2)[0] == [(3, b"three")]


def test_a_gap_after_the_catalog_is_damage(tmp_path: Path) -> None:
    make(tmp_path, [[b"five"]], first=5).close()
    with pytest.raises(CorruptionError, match="the catalog ends at 3"):
        replay(tmp_path, 3)


def test_a_file_of_another_collection_is_refused(tmp_path: Path) -> None:
    make(tmp_path, FRAMES).close()
    state = Replay(tmp_path, bytes(16), 0)
    with pytest.raises(CorruptionError, match="another collection"):
        list(state.operations())


def test_retire_removes_only_what_is_applied(tmp_path: Path) -> None:
    wal = make(tmp_path, [[b"one"], [b"two"]])
    wal.start_file(3)
    wal.append(3, [[b"three"]])
    wal.retire(1)
    assert len(wal_files(tmp_path)) == 2
    wal.retire(2)
    assert [seq for seq, _ in wal_files(tmp_path)] == [3]
    wal.retire(3)
    assert [seq for seq, _ in wal_files(tmp_path)] == [3]
    wal.close()


def test_a_full_disk_takes_the_frame_back_and_the_log_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wal = make(tmp_path, [[b"one"]])
    real = os.writev

    def full(fd: int, buffers: Any) -> int:
        real(fd, [bytes(buffers[0])[:7]])  # a short write, then no space
        raise OSError(errno.ENOSPC, "no space")

    monkeypatch.setattr(os, "writev", full)
    with pytest.raises(StorageFullError):
        wal.append(2, [[b"lost"]])
    monkeypatch.undo()
    assert wal.failed is None
    wal.append(2, [[b"two"]])
    wal.close()
    assert replay(tmp_path)[0] == [(1, b"one"), (2, b"two")]


def test_a_failed_sync_closes_the_log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wal = make(tmp_path, [[b"one"]])

    def broken(self: fs.AppendFile) -> None:
        raise OSError(errno.EIO, "i/o error")

    monkeypatch.setattr(fs.AppendFile, "sync", broken)
    with pytest.raises(WriteError):
        wal.append(2, [[b"two"]])
    assert wal.failed is not None
    assert "fsync" in wal.failed
    wal.close()


def test_files_are_private(tmp_path: Path) -> None:
    make(tmp_path, FRAMES).close()
    [(_, path)] = wal_files(tmp_path)
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_log_that_is_busy_is_asked_again_to_rest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that was written to while another one took its turn kept its descriptor from then on."""
    monkeypatch.setattr(wal_module, "_MOST_AWAKE", 1)
    logs = []
    for name in ("a", "b", "c"):
        (tmp_path / name).mkdir()
        logs.append(make(tmp_path / name, []))
    first, second, third = logs
    first.append(1, [[b"one"]])
    with first._guard:
        other = threading.Thread(target=second.append, args=(1, [[b"two"]]))
        other.start()
        other.join()
    assert [log.rests for log in logs] == [False, False, True]
    third.append(1, [[b"three"]])
    assert [log.rests for log in logs] == [True, True, False]
    for log in logs:
        log.append(2, [[b"more"]])
        log.close()
    for name, data in (("a", b"one"), ("b", b"two"), ("c", b"three")):
        assert replay(tmp_path / name)[0] == [(1, data), (2, b"more")]

"""The model of a disk that ``proofs.powerloss`` enumerates: what can be lost, and what not."""

from __future__ import annotations

from pathlib import Path

import pytest

from proofs.powerloss.disk import SECTOR, Choice, Disk, Image
from proofs.powerloss.trace import Ack, Moment, Replay, Unmodelled, calls


def contents(disk: Disk) -> set[tuple[tuple[str, bytes], ...]]:
    """Every image, as names and bytes."""
    found = set()
    for choice in [*disk.choices(1), *disk.latest()]:
        image = Image(disk, choice)
        found.add(tuple((n, disk.content(f, choice)) for n, f in image.files.items()))
    return found


def sync(disk: Disk, name: str) -> None:
    number = disk.find(name)
    assert number is not None
    disk.sync(number, len(disk.ops))


def new_file(disk: Disk, name: str, data: bytes, *, synced: bool = True) -> int:
    number = disk.create(name)
    disk.write(number, None, data)
    if synced:
        sync(disk, name)
        sync(disk, ".")
    return number


def test_data_and_name_are_lost_each_by_itself() -> None:
    disk = Disk()
    new_file(disk, "a", b"data", synced=False)
    assert contents(disk) == {(), (("a", b""),), (("a", b"data"),), (("a", bytes(4)),)}


def test_fsync_of_a_file_keeps_its_data_and_not_its_name() -> None:
    disk = Disk()
    new_file(disk, "a", b"data", synced=False)
    sync(disk, "a")
    assert contents(disk) == {(), (("a", b"data"),)}


def test_fsync_of_the_directory_keeps_the_name_and_not_the_data() -> None:
    disk = Disk()
    new_file(disk, "a", b"data", synced=False)
    sync(disk, ".")
    assert contents(disk) == {(("a", b""),), (("a", b"data"),), (("a", bytes(4)),)}


def test_a_rename_is_one_step() -> None:
    disk = Disk()
    new_file(disk, "a", b"old")
    new_file(disk, "b", b"new")
    disk.move("b", "a")
    assert contents(disk) == {(("a", b"old"), ("b", b"new")), (("a", b"new"),)}
    sync(disk, ".")
    assert contents(disk) == {(("a", b"new"),)}


def test_a_rename_between_directories_needs_both() -> None:
    disk = Disk()
    disk.mkdir("d")
    new_file(disk, "a", b"data")
    disk.move("a", "d/a")
    sync(disk, ".")
    assert contents(disk) == {(("a", b"data"),), (("d/a", b"data"),)}
    sync(disk, "d")
    assert contents(disk) == {(("d/a", b"data"),)}


def test_what_is_in_a_directory_goes_with_it() -> None:
    disk = Disk()
    disk.mkdir("d")
    new_file(disk, "d/a", b"data", synced=False)
    sync(disk, "d/a")
    sync(disk, "d")
    sync(disk, ".")
    disk.move("d", "e")
    assert contents(disk) == {(("d/a", b"data"),), (("e/a", b"data"),)}


def test_a_removed_name_may_be_back() -> None:
    disk = Disk()
    new_file(disk, "a", b"data")
    disk.remove("a")
    assert contents(disk) == {(), (("a", b"data"),)}
    sync(disk, ".")
    assert contents(disk) == {()}


def test_a_write_within_a_sector_is_whole_or_not_there() -> None:
    disk = Disk()
    number = new_file(disk, "a", bytes(SECTOR))
    disk.write(number, 100, b"x" * 50)
    data = {content for ((_, content),) in contents(disk)}
    assert data == {bytes(SECTOR), bytes(100) + b"x" * 50 + bytes(SECTOR - 150)}


def test_a_longer_write_is_torn_in_every_way() -> None:
    disk = Disk()
    number = new_file(disk, "a", b"")
    written = b"x" * (3 * SECTOR)
    disk.write(number, None, written)
    data = {content for ((_, content),) in contents(disk)}
    cut = {content for content in data if written.startswith(content)}
    assert {0, 1, SECTOR, 2 * SECTOR, len(written) - 1, len(written)} <= set(map(len, cut))
    whole = {content for content in data - cut if len(content) == len(written)}
    assert bytes(len(written)) in whole
    assert bytes(SECTOR) + b"x" * 2 * SECTOR in whole
    garbage = {c for c in whole if c[SECTOR : 2 * SECTOR] not in (bytes(SECTOR), b"x" * SECTOR)}
    assert garbage
    assert all(c[:SECTOR] == b"x" * SECTOR == c[2 * SECTOR :] for c in garbage)


def test_a_truncation_may_be_lost() -> None:
    disk = Disk()
    number = new_file(disk, "a", b"data")
    disk.truncate(number, 1)
    assert contents(disk) == {(("a", b"data"),), (("a", b"d"),)}


def test_an_image_is_written_as_it_is(tmp_path: Path) -> None:
    disk = Disk()
    disk.mkdir("d")
    new_file(disk, "d/a", b"data", synced=False)
    choice = Choice(frozenset(disk.pending))
    Image(disk, choice).write(tmp_path / "image")
    assert (tmp_path / "image" / "d" / "a").read_bytes() == b"data"
    again = Disk()
    again.load(tmp_path / "image")
    assert contents(again) == {(("d/a", b"data"),)}


# -- traces ------------------------------------------------------------------------------------


def quoted(text: str) -> str:
    return "".join(f"\\x{byte:02x}" for byte in text.encode())


def trace(tmp_path: Path, *lines: str) -> Path:
    path = tmp_path / "trace"
    path.write_text("\n".join(lines) + "\n")
    return path


A = f"3<{quoted('/disk/a')}>"
CREATE = f'7  openat(AT_FDCWD, "{quoted("/disk/a")}", O_WRONLY|O_CREAT|O_APPEND, 0600) = {A}'
WRITE = f'7  write({A}, "{quoted("data")}", 4) = 4'


def test_a_sync_that_began_before_a_write_does_not_cover_it(tmp_path: Path) -> None:
    lines = [CREATE, f"8  fsync({A} <unfinished ...>", WRITE, "8  <... fsync resumed>) = 0"]
    disk = Disk()
    list(Replay(disk, "/disk").run(trace(tmp_path, *lines)))
    assert (("a", b""),) in contents(disk)
    list(Replay(disk := Disk(), "/disk").run(trace(tmp_path, CREATE, WRITE, f"7  fsync({A}) = 0")))
    assert contents(disk) == {(), (("a", b"data"),)}


def test_acknowledgements_and_failed_calls(tmp_path: Path) -> None:
    path = trace(
        tmp_path,
        CREATE,
        f"7  fdatasync({A}) = -1 EIO (Input/output error)",
        f'7  write(1<{quoted("/dev/null")}>, "{quoted("ACK 3 17" + chr(10))}", 9) = 9',
    )
    assert [call.name for call in calls(path)] == ["openat", "write"]
    moments = list(Replay(Disk(), "/disk").run(path))
    assert moments == [Moment.CHANGED, Ack(3, 17), Moment.BEFORE_SYNC]


def test_an_overwritten_meta_page_is_durable_at_once(tmp_path: Path) -> None:
    opened = f'7  openat(AT_FDCWD, "{quoted("/disk/a")}", O_WRONLY|O_DSYNC) = {A}'
    meta = f'7  pwrite64({A}, "{quoted("DATA")}", 4, 0) = 4'
    disk = Disk()
    lines = [CREATE, WRITE, f"7  fsync({A}) = 0", opened, meta]
    moments = list(Replay(disk, "/disk").run(trace(tmp_path, *lines)))
    assert moments.count(Moment.BEFORE_SYNC) == 3  # the sync, the meta page, the end
    assert contents(disk) == {(), (("a", b"DATA"),)}


@pytest.mark.parametrize(
    "line",
    [
        f"7  copy_file_range({A}, NULL, {A}, NULL, 10, 0) = 10",
        f"7  mmap(NULL, 4096, PROT_READ|PROT_WRITE, MAP_SHARED, {A}, 0) = 0x7f0000000000",
        f'7  write({A}, "{quoted("data")}"..., 4) = 4',
        f'7  rename("{quoted("/disk/a")}", "{quoted("/elsewhere")}") = 0',
    ],
)
def test_what_the_model_does_not_know_is_refused(line: str, tmp_path: Path) -> None:
    with pytest.raises(Unmodelled):
        list(Replay(Disk(), "/disk").run(trace(tmp_path, CREATE, line)))

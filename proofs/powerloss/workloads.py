"""The workloads of the power-loss test."""

from __future__ import annotations

from collections.abc import Iterable

from proofs.powerloss.changes import CHANGES
from proofs.powerloss.promises import History
from proofs.powerloss.sequences import (
    BINARY,
    DURING,
    EAGER_VACUUM,
    EDITING,
    EVENTFUL,
    FORTY,
    INDEXED,
    LANES,
    NAMED,
    NO_CODES,
    ONE_SEGMENT,
    PRODUCT,
    SCALAR,
    SEGMENTS,
    THOUGH_INDEXED,
    Workload,
    optimizer,
)
from proofs.powerloss.steps import (
    Delete,
    DropVectors,
    Edit,
    Put,
    PutVectors,
    State,
    Step,
)
from proofs.powerloss.trouble import AtRest, Failing, Synced, Threads, Together
from proofs.powerloss.upkeep import (
    Alias,
    Configure,
    Create,
    DeleteSnapshot,
    Drop,
    Flush,
    Optimize,
    Recreate,
    Rename,
    Reopen,
    Restore,
    Snapshot,
)

WORKLOADS: dict[str, Workload] = {
    **CHANGES,
    # -- points, with and without checkpoints
    "ingest": Workload(tuple(Put(10 * n, 7, n) for n in range(8))),
    "overwrite": Workload(
        (Put(0, 12, 1), Put(4, 12, 2), Delete((5, 6)), Edit("set", (7, 8)), Put(5, 1, 3)),
        setup=(Create(), Put(0, 10, 0), Flush()),
    ),
    "edits": Workload(
        (
            Edit("set", place=2, value=5),
            Edit("overwrite", (1, 2, 30)),
            Delete(place=3),
            Edit("unset", (5, 6)),
            Flush(),
            Edit("clear", (5, 7)),
            Delete(place=1),
        ),
        setup=(*FORTY, Put(30, 15, 1)),
    ),
    "payloads": Workload(
        (
            *(Edit("set", (1, 2, 3), value=4), Flush(), Edit("set", (2, 3, 9), value=5)),
            *(Delete((3,)), Edit("overwrite", (4,)), Flush(), Edit("unset", (2, 5)), Flush()),
            *(Put(4, 2, 7), Edit("set", place=1, value=6), Flush(), Edit("clear", (2,))),
        ),
        setup=FORTY,
    ),
    "payloads-named": Workload(
        (
            *(Edit("set", (1, 15)), Edit("set", (16, 25), value=2), Flush(), Edit("set", (1, 25))),
            *(PutVectors((1,), 5), Edit("unset", (1, 2)), Flush(), DropVectors((2,)), Reopen()),
        ),
        setup=NAMED,
    ),
    "checkpoint": Workload(
        (
            *(Put(0, 9, 1), Flush(), Put(5, 9, 2), Delete((0, 1)), Flush(), Edit("set", (2,))),
            *(Delete(tuple(range(20))), Flush()),
        )
    ),
    "absorb": Workload(
        (
            *(Put(200, 3, 5), Edit("set", (1, 13)), Delete((2, 33)), Flush()),
            *(Put(30, 4, 6), Delete((200,)), Edit("set", (42, 201)), Flush(), Edit("set", (43,))),
        ),
        setup=(
            Create(),
            *(step for n in range(10) for step in (Put(10 * n, 4, n), Flush())),
        ),
    ),
    "large": Workload(
        (Put(0, 400, 1, "w"), Edit("set", (3, 399), into="w"), Put(300, 300, 2, "w"), Flush("w")),
        setup=(Create("w", "wide"), Put(0, 350, 0, "w")),
    ),
    "named": Workload(
        (
            *(PutVectors((0, 1, 15), 5), DropVectors((2, 3, 16)), Put(5, 4, 6)),
            *(Flush(), PutVectors((2, 7), 8, "a"), Delete((8, 9)), DropVectors((0, 11))),
        ),
        setup=NAMED,
    ),
    "sparse": Workload(
        (
            *(PutVectors((0, 1, 15), 5, "s"), DropVectors((2, 3, 16), "s"), Put(5, 4, 6)),
            *(Flush(), PutVectors((2, 7), 8, "a"), Delete((8, 9)), Put(20, 3, 7)),
        ),
        setup=(Create(space="sparse"), Put(0, 20, 0), Flush(), Put(14, 12, 1)),
    ),
    "multi": Workload(
        (
            *(PutVectors((0, 1, 15), 5, "m"), DropVectors((2, 3, 16), "m"), Put(5, 4, 6)),
            *(Flush(), PutVectors((2, 7), 8, "a"), Delete((8, 9)), Put(20, 3, 7)),
        ),
        setup=(Create(space="multi"), Put(0, 20, 0), Flush(), Put(14, 12, 1)),
    ),
    "narrow": Workload(
        (
            *(PutVectors((0, 1, 15), 5, "n"), DropVectors((2, 3, 16), "h"), Put(5, 4, 6)),
            *(Flush(), PutVectors((2, 7), 8, "h"), Delete((8, 9)), Put(20, 3, 7)),
        ),
        setup=(Create(space="narrow"), Put(0, 20, 0), Flush(), Put(14, 12, 1)),
    ),
    "narrow-merge": Workload(
        (Put(310, 3, 5), Optimize(DURING), PutVectors((4,), 8, "h"), Rename("only-a"), Flush()),
        setup=(
            Create(space="narrow"),
            *(step for n in range(3) for step in (Put(100 * n, 110, n), Flush())),
            ONE_SEGMENT,
        ),
    ),
    "multi-merge": Workload(
        (Put(310, 3, 5), Optimize(DURING), PutVectors((4,), 8, "m"), Rename("only-a"), Flush()),
        setup=(
            Create(space="multi"),
            *(step for n in range(3) for step in (Put(100 * n, 110, n), Flush())),
            ONE_SEGMENT,
        ),
    ),
    "multi-codes": Workload(
        (Optimize(DURING), PutVectors((4,), 8, "m"), Flush(), PRODUCT, Optimize(), Put(0, 3, 5)),
        setup=(
            Create(space="multi"),
            *(step for n in range(3) for step in (Put(100 * n, 20, n), Flush())),
            *(Configure(on_disk=True), SCALAR, INDEXED, ONE_SEGMENT),
        ),
    ),
    "sparse-merge": Workload(
        (Put(310, 3, 5), Optimize(DURING), PutVectors((4,), 8, "s"), Rename("only-a"), Flush()),
        setup=(
            Create(space="sparse"),
            *(step for n in range(3) for step in (Put(100 * n, 110, n), Flush())),
            ONE_SEGMENT,
        ),
    ),
    # -- the optimizer
    "convert": Workload(
        (INDEXED, Optimize(), Put(5, 5, 9), Edit("set", (8,))), setup=(*FORTY, SCALAR)
    ),
    "convert-writing": Workload(
        (Optimize(DURING), Put(5, 5, 9), Edit("set", (8,))),
        setup=(*FORTY, Put(100, 4, 0), Put(200, 4, 0), SCALAR, INDEXED, Flush()),
    ),
    "merge": Workload(
        (Put(200, 3, 5), ONE_SEGMENT, Edit("set", (101,)), Optimize(), Delete((102,))),
        setup=SEGMENTS,
    ),
    "merge-writing": Workload(
        (Put(200, 3, 5), Optimize(DURING), Edit("set", (101,)), Flush(), Delete((102,))),
        setup=(*SEGMENTS, ONE_SEGMENT),
    ),
    "merge-payloads": Workload(
        (
            *(Edit("set", (1, 101, 201), value=4), Flush(), Edit("set", (2, 102), value=5)),
            *(Optimize(EDITING), Edit("set", (10, 108), value=8), Flush(), Delete((8,)), Flush()),
        ),
        setup=(*SEGMENTS, ONE_SEGMENT),
    ),
    "merge-codes": Workload(
        (Optimize(DURING), BINARY, Optimize((Delete((0, 1)), Flush())), Put(0, 3, 5)),
        setup=(*SEGMENTS, Put(300, 20, 1), Flush(), PRODUCT, INDEXED, ONE_SEGMENT),
    ),
    "merge-named": Workload(
        (
            Optimize(
                (
                    DropVectors((1, 22)),
                    PutVectors((2, 41), 7),
                    Flush(),
                    Delete((3, 44)),
                    PutVectors((5, 45), 9),
                )
            ),
            *(PutVectors((4,), 8), Flush()),
        ),
        setup=(
            Create(space="named"),
            *(step for n in range(3) for step in (Put(20 * n, 12, n), Flush())),
            *(SCALAR, INDEXED, ONE_SEGMENT),
        ),
    ),
    "index": Workload(
        (INDEXED, Optimize(indexed=True), Put(5, 5, 9), Edit("set", (8,)), Delete((200,)), Flush()),
        setup=(Create(space="clustered"), Put(0, 300, 0), Delete((3, 4)), Flush()),
    ),
    "index-writing": Workload(
        (Optimize(THOUGH_INDEXED, indexed=True), Put(5, 5, 9), Flush(), Delete((7, 250))),
        setup=(
            Create(space="named"),
            *(step for n in range(3) for step in (Put(100 * n, 120, n), Flush())),
            *(SCALAR, INDEXED, ONE_SEGMENT),
        ),
    ),
    "index-rebuild": Workload(
        (
            *(BINARY, Optimize((Delete((2, 299)), Flush(), Put(1, 3, 3)), indexed=True)),
            *(Edit("set", (3, 298)), NO_CODES, Optimize(indexed=True)),
        ),
        setup=(
            *(Create(space="clustered"), Put(0, 300, 0), Flush(), INDEXED, SCALAR),
            *(Optimize(indexed=True), Delete((20, 21, 180))),
        ),
    ),
    "vacuum": Workload(
        (
            *(Delete(tuple(range(10))), EAGER_VACUUM, Edit("set", (15,))),
            *(Optimize(), Optimize(), Edit("set", (16,))),
        ),
        setup=(Create(), Put(0, 30, 0), Flush()),
    ),
    "vacuum-writing": Workload(
        (Flush(), Optimize((Delete((20, 21)), Flush(), Edit("set", (22,)))), Put(20, 3, 4)),
        setup=(*FORTY, EAGER_VACUUM, Delete(tuple(range(12)))),
    ),
    "vacuum-all": Workload(
        (Flush(), Optimize((Delete(tuple(range(40))), Flush())), Put(0, 3, 4), Flush()),
        setup=(*FORTY, EAGER_VACUUM, Delete(tuple(range(12)))),
    ),
    "configure": Workload(
        (BINARY, Optimize(), optimizer(memmap_threshold=1), NO_CODES, Optimize(), Put(3, 3, 4)),
        setup=(*FORTY, INDEXED),
    ),
    "rebuild": Workload(
        (
            *(PRODUCT, Optimize((Delete((2,)), Flush())), Configure(on_disk=True), BINARY),
            *(Optimize((Put(1, 3, 3),)), Configure(on_disk=False), Edit("set", (3,))),
        ),
        setup=(*FORTY, INDEXED, SCALAR, Optimize()),
    ),
    "background": Workload(
        (
            *(SCALAR, Put(0, 40, 0), AtRest(), Put(20, 40, 1), Delete(tuple(range(15)))),
            *(Flush(), AtRest(), BINARY, Put(0, 20, 2), AtRest()),
        ),
        setup=(Create(space="background"),),
    ),
    # -- collections
    "new": Workload((Create(), Put(0, 3, 1), Create("other", "named")), setup=()),
    "create": Workload((Create("other"), Drop("other"), Put(1, 2, 3), Create("more"))),
    "collections": Workload(
        (
            *(Create("n", "named"), Put(0, 6, 1, "n"), Put(0, 3, 1), Flush("n"), Recreate()),
            *(Put(4, 3, 2), Drop("n"), Create("n", "named"), Put(1, 2, 3, "n"), Flush(), Drop()),
        ),
        setup=(Create(), Put(0, 9, 0), Flush(), Put(5, 5, 1)),
    ),
    "aliases": Workload(
        (
            *(Alias({"a": "n"}), Alias({"e": "c"}, {"b": "d"}), Put(3, 2, 2), Alias({"e": None})),
            *(Drop("n"), Create("n", "named"), Alias({"a": "n", "b": "c"}), Reopen()),
            *(Alias({"b": None}, {"a": "f"}), Recreate("n", "named"), Drop(), Alias({"g": "n"})),
        ),
        setup=(
            *(Create(), Put(0, 5, 1), Create("n", "named"), Put(0, 4, 1, "n")),
            Alias({"a": "c", "b": "n", "h": "c"}),
        ),
    ),
    "first-alias": Workload((Alias({"a": "c"}), Drop(), Create(), Alias({"b": "c"}))),
    # -- opening and closing
    "reopen": Workload((Put(0, 5, 1), Reopen(), Put(3, 5, 2), Reopen())),
    "recovery": Workload(
        (Put(2, 5, 3), Reopen()),
        setup=(
            *(Create(), Put(0, 9, 0), Flush(), Put(5, 9, 1)),
            *(Edit("set", (1, 6)), Delete((7,))),
        ),
        killed=True,
    ),
    # -- several writers
    "group": Workload(
        (
            Together((Put(0, 4, 1), Put(2, 4, 2), Delete((3,)), Put(20, 2, 3))),
            Together((Edit("set", (2,)), Put(0, 3, 4), Edit("set", place=0, value=9))),
            Flush(),
            Together(tuple(Put(n, 2, n + 10) for n in range(6))),
        ),
    ),
    "threads": Workload((Threads((*LANES, (Flush(), Flush()))), Put(0, 2, 99))),
    # -- the other sync levels
    "interval": Workload(
        (*EVENTFUL, Synced(), Put(8, 5, 3), Flush(), *EVENTFUL, Synced(), Delete((0,))),
        level="interval",
    ),
    "never": Workload(
        (*EVENTFUL, Flush(), Put(8, 5, 3), Edit("set", (8, 9)), Delete((0,)), Reopen(), *EVENTFUL),
        level="never",
    ),
    "never-large": Workload(
        (Put(0, 200, 1, "w"), Put(100, 40, 2, "w"), Edit("set", place=2, into="w"), Flush("w")),
        setup=(Create("w", "wide"),),
        level="never",
    ),
    "never-optimizing": Workload(
        (Put(300, 4, 5), Optimize((Put(301, 2, 6), Delete((0,)))), *EVENTFUL, INDEXED, SCALAR),
        setup=(*SEGMENTS, ONE_SEGMENT),
        level="never",
    ),
    "never-group": Workload(
        (
            Together(tuple(Put(n, 3, n) for n in range(4))),
            Put(1, 1, 9),
            Together((Put(5, 3, 8), Delete((2,)))),
            Flush(),
            Together((Delete((5,)), Put(9, 3, 8))),
        ),
        level="never",
    ),
    # -- failures on the way
    "failed-checkpoint": Workload(
        (
            *(Put(0, 5, 1), Failing("segment", Flush()), Put(3, 5, 2), Delete((0,))),
            *(Failing("segment", Flush()), Edit("set", (4,)), Flush(), Put(1, 1, 3)),
        ),
        setup=(Create(), Put(0, 9, 0), Flush()),
    ),
    "failed-payloads": Workload(
        (
            *(Put(200, 3, 5), Edit("set", (1, 13)), Failing("segment", Flush())),
            *(Edit("set", (1, 42, 201), value=7), Delete((2, 33)), Failing("segment", Flush())),
            *(Put(30, 4, 6), Edit("unset", (13,)), Flush(), Edit("set", (43, 200)), Flush()),
        ),
        setup=(
            Create(),
            *(step for n in range(10) for step in (Put(10 * n, 4, n), Flush())),
        ),
    ),
    "failed-optimizer": Workload(
        (
            *(Failing("segment", Optimize((Delete((5, 100)), Flush()))), Put(1, 2, 3)),
            *(Optimize((Delete((6,)), Flush())), Put(2, 1, 4)),
        ),
        setup=(*SEGMENTS, ONE_SEGMENT),
    ),
    "failed-commit": Workload(
        (Put(1, 3, 5), Delete((100,)), Failing("commit", Optimize((Edit("set", (2, 101)),)))),
        setup=(*SEGMENTS, ONE_SEGMENT),
    ),
    "reopened": Workload(
        (
            *(Put(1, 3, 5), Failing("commit", Optimize()), Reopen(), Put(2, 3, 6)),
            *(Failing("commit", Flush()), Reopen(), Put(3, 3, 7), Optimize()),
        ),
        setup=(*SEGMENTS, ONE_SEGMENT),
    ),
    "full": Workload(
        (
            *(Put(0, 20, 1), Failing("full", Put(5, 30, 2)), Put(7, 2, 3)),
            *(Failing("full", Delete((7,))), Edit("set", (8,)), Flush()),
        ),
    ),
    "failed-sync": Workload(
        (Put(0, 5, 1), Failing("sync", Put(2, 5, 2)), Reopen(), Put(4, 5, 3), Delete((0,))),
    ),
    # -- a crash in the recovery from a crash
    "crashed-checkpoint": Workload((), crashed="checkpoint"),
    "crashed-merge": Workload((), crashed="merge-writing"),
    "crashed-collections": Workload((), crashed="collections"),
    "crashed-never": Workload((), crashed="never"),
    "crashed-new": Workload((), crashed="new"),
    "crashed-aliases": Workload((), crashed="aliases"),
    # -- a kill, then a recovery, then a crash
    "killed-checkpoint": Workload((), killed_in="checkpoint"),
    "killed-merge": Workload((), killed_in="merge-writing"),
    "killed-payloads": Workload((), killed_in="merge-payloads"),
    "killed-absorb": Workload((), killed_in="absorb"),
    "killed-index": Workload((), killed_in="index-writing"),
    "killed-collections": Workload((), killed_in="collections"),
    "killed-aliases": Workload((), killed_in="aliases"),
    "killed-restore": Workload((), killed_in="restore"),
    # -- snapshots
    "snapshot": Workload(
        (
            *(Snapshot(), Put(0, 9, 3), Flush(), Snapshot("n"), Snapshot()),
            *(DeleteSnapshot(), Delete((1, 2)), Snapshot(), Drop("n"), Put(1, 1, 4)),
        ),
        setup=(*FORTY, Put(5, 5, 1), Create("n", "named"), Put(0, 6, 1, "n")),
    ),
    "restore": Workload(
        (
            *(Restore(), Put(0, 3, 5), Restore("n", "n"), Edit("set", (1,)), Restore(number=0)),
            *(Put(7, 2, 6), Restore("new", "n"), Put(1, 2, 7, "new"), Restore("new", "n")),
        ),
        setup=(
            *(*FORTY, Put(5, 5, 1), Snapshot(), Create("n", "named"), Put(0, 6, 1, "n")),
            *(Snapshot("n"), Drop("n"), INDEXED, SCALAR, Delete((0,)), Optimize(), Snapshot()),
            *(Put(20, 40, 9), NO_CODES, Edit("set", (3, 4))),
        ),
    ),
    "crashed-restore": Workload((), crashed="restore"),
}


def after_crash(names: Iterable[str]) -> tuple[Step, ...]:
    """What is done to the collections that a recovery found."""
    return tuple(Put(2, 3, 88, name) for name in sorted(names))


def start_of(workload: Workload) -> History:
    """The setup."""
    return History.of(workload.setup, State())

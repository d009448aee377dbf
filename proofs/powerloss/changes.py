"""Workloads of batches, of writes on a condition, and of what is kept with the configuration.

That is vector names that come and go, payload indexes, metadata.
"""

from __future__ import annotations

from proofs.powerloss.sequences import (
    DURING,
    EAGER_VACUUM,
    FORTY,
    NAMED,
    ONE_SEGMENT,
    SEGMENTS,
    Workload,
)
from proofs.powerloss.steps import Batch, Delete, DropVectors, Edit, Put, PutVectors
from proofs.powerloss.trouble import Together
from proofs.powerloss.upkeep import Configure, Create, Flush, Index, Optimize, Rename, Reopen

CHANGES: dict[str, Workload] = {
    # -- several operations as one write, and on a condition
    "batch": Workload(
        (
            Batch((Put(0, 6, 1), Edit("set", place=1), Delete((2, 30)), Put(30, 2, 5))),
            *(Put(0, 45, 6, older=1), Flush(), Batch((Delete(place=3), Put(3, 1, 7)))),
            Batch((Edit("overwrite", (1, 5)), Edit("unset", (1, 7)), Edit("set", place=4))),
            *(Put(0, 50, 8, mode="insert_only"), Put(40, 20, 9, older=9, mode="update_only")),
            Batch((Put(1, 2, 10, older=10), Edit("clear", (1,)), Put(1, 2, 11, older=11))),
        ),
        setup=(*FORTY, Put(30, 15, 1)),
    ),
    "batch-named": Workload(
        (
            Batch((PutVectors((0, 15), 5), DropVectors((0, 2, 16)), Edit("set", (15, 16)))),
            Batch((Put(40, 3, 1), PutVectors((40,), 3), DropVectors((41,)), Delete((1, 42)))),
            *(Flush(), Batch((DropVectors((15,)), PutVectors((15,), 9), Put(15, 1, 2)))),
            Put(14, 30, 3, older=2),
        ),
        setup=NAMED,
    ),
    "batch-merge": Workload(
        (
            Optimize(
                (
                    Batch((Edit("set", (1, 101)), Delete((1, 201)), Put(8, 4, 7))),
                    *(Flush(), Batch((Edit("clear", (8, 103)), Put(110, 3, 7, older=1)))),
                )
            ),
            Batch((Edit("set", place=2, value=3), Put(0, 3, 5))),
        ),
        setup=(*SEGMENTS, ONE_SEGMENT),
    ),
    "batch-never": Workload(
        (
            Batch((Put(0, 6, 1), Delete((2, 3)), Put(3, 2, 2))),
            Together((Batch((Put(9, 3, 2), Delete((9,)))), Put(20, 2, 3), Put(9, 2, 4, older=3))),
            *(Flush(), Batch((Edit("set", (4, 10)), Delete((10,)))), Put(0, 9, 5, older=2)),
        ),
        level="never",
    ),
    # -- vector names that come and go
    "names": Workload(
        (
            *(Rename("named-abc"), Put(10, 8, 3), Flush(), PutVectors((1, 16), 4, "c")),
            *(Rename("named-ac"), Put(30, 4, 5), Delete((2, 17)), Rename("named-acb")),
            *(PutVectors((3, 31), 6, "b"), Edit("set", (5,)), Reopen(), DropVectors((31,), "c")),
        ),
        setup=NAMED,
    ),
    "names-merge": Workload(
        (
            Optimize((Put(100, 3, 7), Delete((5, 41)), Flush(), Edit("set", (22,)))),
            *(Rename("named-ac"), Put(7, 3, 8), Flush(), Rename("named-acb"), Optimize()),
        ),
        setup=(
            Create(space="named"),
            *(step for n in range(3) for step in (Put(20 * n, 12, n), Flush())),
            *(Rename("named-abc"), Put(14, 9, 5), Flush(), Edit("set", (2, 16)), ONE_SEGMENT),
        ),
    ),
    "crashed-names": Workload((), crashed="names"),
    "killed-names": Workload((), killed_in="names"),
    # -- without vectors
    "no-vectors": Workload(
        (
            *(Put(5, 9, 2), Edit("set", (1, 6), value=3), Delete((2, 7)), Flush(), Put(3, 3, 3)),
            *(Batch((Edit("clear", (3,)), Delete(place=4), Put(30, 2, 5))), Flush(), Reopen()),
            *(ONE_SEGMENT, Optimize((Delete((8,)), Edit("set", (11,)), Put(40, 3, 6), Flush()))),
            *(EAGER_VACUUM, Delete(place=1), Flush(), Optimize(), Edit("overwrite", (12,))),
        ),
        setup=(
            Create(space="none"),
            *(step for n in range(3) for step in (Put(6 * n, 12, n), Flush())),
        ),
    ),
    "no-vectors-names": Workload(
        (
            *(Rename("only-b"), PutVectors((1, 13), 4), Put(30, 4, 5), Flush(), Delete((2,))),
            *(DropVectors((13,)), Rename("none"), Put(12, 3, 6), Edit("set", (5, 30)), Reopen()),
            *(Rename("only-b"), PutVectors((3,), 7), ONE_SEGMENT, Optimize()),
        ),
        setup=(Create(space="none"), Put(0, 12, 0), Flush(), Put(8, 8, 1)),
    ),
    # -- what is kept with the configuration
    "schema": Workload(
        (
            *(Index("version", "integer"), Put(0, 5, 1), Configure(metadata={"a": 1})),
            *(Index("place", "keyword"), Flush(), Index("version", "float"), Reopen()),
            *(Index("place"), Configure(metadata={"b": [2]}), Edit("set", (3,)), Index("version")),
        ),
        setup=FORTY,
    ),
    "columns": Workload(
        (
            *(Index("place", "integer"), Edit("set", (1, 6)), Put(5, 5, 2), Flush()),
            *(Index("version", "integer", wait=False), Optimize(), Edit("set", place=2, value=9)),
            *(Delete((3,)), Index("place"), Flush(), Index("place", "keyword"), Reopen()),
            *(
                Edit("unset", (1, 2)),
                Put(0, 4, 5, older=5),
                Index("version"),
                Put(60, 3, 4),
                Flush(),
            ),
        ),
        setup=FORTY,
    ),
    "columns-merge": Workload(
        (
            *(Edit("set", (1, 101)), Optimize((*DURING, Index("version", "integer")))),
            *(Edit("set", (12, 103), value=3), Index("place"), Flush(), Delete((13,))),
            *(Index("place", "keyword", wait=False), Optimize(), Edit("unset", (12,)), Flush()),
            Put(10, 4, 5, older=5),
        ),
        setup=(Create(), Index("place", "integer"), *SEGMENTS[1:], ONE_SEGMENT),
    ),
    "crashed-columns": Workload((), crashed="columns"),
    "killed-columns": Workload((), killed_in="columns-merge"),
}

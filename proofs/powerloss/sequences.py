"""What workloads are made of, and sequences of steps that several share."""

from __future__ import annotations

from dataclasses import dataclass

from proofs.powerloss.steps import Delete, DropVectors, Edit, Put, PutVectors, Step
from proofs.powerloss.upkeep import Configure, Create, Flush


@dataclass(frozen=True)
class Workload:
    """``setup`` makes the durable starting point, ``steps`` is what is traced."""

    steps: tuple[Step, ...]
    setup: tuple[Step, ...] = (Create(),)
    level: str = "always"
    killed: bool = False
    """The setup ends without ``close``: opening it is a recovery."""
    crashed: str | None = None
    """Instead of a setup: images of this workload, each as a start of its own."""
    killed_in: str | None = None
    """The same with what a process leaves that is killed in this workload: the next one sees all of
    it, and power is lost before all of it is durable."""

    @property
    def options(self) -> dict[str, object]:
        """How the database is opened."""
        return {"sync": self.level, "sync_interval": 0.005}


def optimizer(**settings: object) -> Configure:
    """Change the optimizer's settings."""
    return Configure(settings)


SCALAR = Configure(codes={"scalar": {"type": "int8"}})
BINARY = Configure(codes={"binary": {"always_ram": True}})
PRODUCT = Configure(codes={"product": {"compression": "x16", "always_ram": False}})
NO_CODES = Configure(codes="Disabled")
INDEXED = optimizer(indexing_threshold=1)
ONE_SEGMENT = optimizer(default_segment_number=1)
EAGER_VACUUM = optimizer(vacuum_min_vector_number=1, deleted_threshold=0.1)

FORTY = (Create(), Put(0, 40, 0), Flush())
SEGMENTS = (
    Create(),
    *(step for n in range(3) for step in (Put(100 * n, 20, n), Flush())),
    Delete((3, 4, 105)),
)
NAMED = (Create(space="named"), Put(0, 20, 0), Flush(), Put(14, 12, 1))
THOUGH_INDEXED = (
    *(Delete((1, 102, 203)), Put(8, 4, 7), PutVectors((30, 150, 201), 8), Flush()),
    *(DropVectors((60, 161)), Edit("set", (12, 103), value=2), Delete((16,))),
)
EVENTFUL = (Put(0, 6, 1), Put(3, 6, 2), Edit("set", place=1), Delete((4, 5)))
DURING = (
    *(Delete((1, 102, 203)), Put(8, 4, 7), Edit("set", (9, 15, 201)), Flush()),
    *(Delete((16,)), Edit("set", (12, 103), value=2)),
)
"""Goes on while a build is under way: the masks at its start are not those at its commit."""
EDITING = (
    *(Edit("set", (2, 103, 201), value=6), Edit("unset", (1, 7)), Delete((6,)), Flush()),
    *(Edit("set", (8, 103), value=7), Edit("clear", (9,)), Delete((110,))),
)
"""The same of payloads: some are edited before a checkpoint, some after it."""

LANES = tuple(
    tuple(
        step for n in range(3) for step in (Put(3 * lane, 8, 10 * lane + n), Delete((lane, 7 + n)))
    )
    for lane in range(3)
)

"""Steps of crash workloads beside points: collections, snapshots, checkpoints, the optimizer."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

from proofs.model.multi import params_of
from proofs.model.sparse import MODIFIERS
from proofs.powerloss.steps import SPACES, Lanes, Model, Run, Space, State, Step
from vecdb.storage.builder import SegmentBuilder

# -- collections -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Create(Step):
    """A new, empty collection."""

    into: str = "c"
    space: str = "plain"
    fence = True

    def pass_through(self, state: State) -> list[State]:
        return [state.with_model(self.into, Model(self.space, {}, {}))]

    def perform(self, run: Run) -> int:
        space = run.spaces[self.into] = SPACES[self.space]
        run.db.create_collection(self.into, **_parameters(space))
        return 0


def _parameters(space: Space) -> dict[str, Any]:
    vectors = {n: params_of(dim, d) for n, (dim, d) in space.vectors.items() if d not in MODIFIERS}
    sparse = {
        n: {"modifier": MODIFIERS[d]} for n, (_, d) in space.vectors.items() if d in MODIFIERS
    }
    return {
        "vectors_config": vectors.get("", vectors),
        "sparse_vectors_config": sparse or None,
        "optimizers_config": space.settings,
    }


@dataclass(frozen=True)
class Drop(Step):
    """Delete a collection."""

    into: str = "c"
    fence = True

    def pass_through(self, state: State) -> list[State]:
        return [state.with_model(self.into, None)]

    def perform(self, run: Run) -> int:
        run.db.delete_collection(self.into)
        return 0


@dataclass(frozen=True)
class Alias(Step):
    """Other names of collections: all of them set, given up (None) and renamed in one step."""

    given: dict[str, str | None] = field(default_factory=dict)
    renamed: dict[str, str] = field(default_factory=dict)
    into = "*"

    def pass_through(self, state: State) -> list[State]:
        aliases = {**state.aliases, **self.given}
        for old, new in self.renamed.items():
            aliases[new] = aliases.pop(old)
        return [replace(state, aliases={a: name for a, name in aliases.items() if name})]

    def perform(self, run: Run) -> int:
        changes: list[dict[str, Any]] = []
        for alias, name in self.given.items():
            if name is None:
                changes.append({"delete_alias": {"alias_name": alias}})
            else:
                new = {"alias_name": alias, "collection_name": name}
                changes.append({"create_alias": new})
        for old, free in self.renamed.items():
            changes.append({"rename_alias": {"old_alias_name": old, "new_alias_name": free}})
        run.db.update_collection_aliases(changes)
        return 0


@dataclass(frozen=True)
class Recreate(Step):
    """Delete a collection and make a new one; in between there is none."""

    into: str = "c"
    space: str = "plain"
    fence = True

    def pass_through(self, state: State) -> list[State]:
        gone = state.with_model(self.into, None)
        return [gone, *Create(self.into, self.space).pass_through(gone)]

    def perform(self, run: Run) -> int:
        space = run.spaces[self.into] = SPACES[self.space]
        run.db.recreate_collection(self.into, **_parameters(space))
        return 0


@dataclass(frozen=True)
class Configure(Step):
    """Change the configuration: settings of the optimizer, codes, placements."""

    optimizer: dict[str, Any] = field(default_factory=dict)
    codes: Any = None
    """A quantization configuration, or "Disabled"."""
    on_disk: bool | None = None
    metadata: dict[str, Any] | None = None
    into: str = "c"

    def pass_through(self, state: State) -> list[State]:
        model = state.collections[self.into]
        config = {**model.config, **self.optimizer}
        if self.codes is not None:
            config["codes"] = None if self.codes == "Disabled" else next(iter(self.codes))
        if self.on_disk is not None:
            config["on_disk"] = self.on_disk
        if self.metadata is not None:
            config["metadata"] = {**config.get("metadata", {}), **self.metadata}
        return [state.with_model(self.into, replace(model, config=config))]

    def perform(self, run: Run) -> int:
        names = run.spaces[self.into].vectors
        placements = {name: {"on_disk": self.on_disk} for name in names}
        run.db.update_collection(
            self.into,
            optimizers_config=self.optimizer or None,
            quantization_config=self.codes,
            vectors_config=None if self.on_disk is None else placements,
            metadata=self.metadata,
        )
        return 0


@dataclass(frozen=True)
class Rename(Step):
    """Add a vector name, or take one away: what the other kind of collection has more, or less."""

    space: str
    into: str = "c"
    fence = True

    def pass_through(self, state: State) -> list[State]:
        model, named = state.collections[self.into], SPACES[self.space].vectors
        points = {
            i: replace(p, vectors={n: v for n, v in p.vectors.items() if n in named})
            for i, p in model.points.items()
        }
        config = {**model.config, "vectors": {n: list(v) for n, v in named.items()}}
        return [state.with_model(self.into, Model(self.space, points, config))]

    def perform(self, run: Run) -> int:
        before, after = run.spaces[self.into].vectors, SPACES[self.space].vectors
        run.spaces[self.into] = SPACES[self.space]
        for name in before.keys() - after.keys():
            run.db.delete_vector_name(self.into, name)
        for name in after.keys() - before.keys():
            dim, distance = after[name]
            config: Any = {"dense": params_of(dim, distance)}
            if distance in MODIFIERS:
                config = {"sparse": {"modifier": MODIFIERS[distance]}}
            run.db.create_vector_name(self.into, name, config)
        return 0


@dataclass(frozen=True)
class Index(Step):
    """Give a field of the payload an index of a type, or take it away. Its columns are written in
    the step, or later by the optimizer (``wait=False``)."""

    field: str
    kind: str | None = None
    into: str = "c"
    wait: bool = True

    def pass_through(self, state: State) -> list[State]:
        model = state.collections[self.into]
        known = {**model.config.get("payload_schema", {}), self.field: self.kind}
        schema = {field: kind for field, kind in known.items() if kind is not None}
        config = {**model.config, "payload_schema": schema}
        return [state.with_model(self.into, replace(model, config=config))]

    def perform(self, run: Run) -> int:
        if self.kind is None:
            run.db.delete_payload_index(self.into, self.field)
        else:
            run.db.create_payload_index(self.into, self.field, self.kind, wait=self.wait)
        return 0


# -- snapshots -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Snapshot(Step):
    """An archive of a collection."""

    into: str = "c"

    def pass_through(self, state: State) -> list[State]:
        taken = (*state.snapshots.get(self.into, ()), state.collections[self.into])
        return [replace(state, snapshots={**state.snapshots, self.into: taken})]

    def perform(self, run: Run) -> int:
        run.db.create_snapshot(self.into)
        return 0


@dataclass(frozen=True)
class DeleteSnapshot(Step):
    """Remove the oldest archive of a collection."""

    into: str = "c"

    def pass_through(self, state: State) -> list[State]:
        left = state.snapshots[self.into][1:]
        return [replace(state, snapshots={**state.snapshots, self.into: left})]

    def perform(self, run: Run) -> int:
        run.db.delete_snapshot(self.into, run.db.list_snapshots(self.into)[0].name)
        return 0


@dataclass(frozen=True)
class Restore(Step):
    """Make a collection what an archive of one holds, whether it exists or not: in one step."""

    into: str = "c"
    archive_of: str = "c"
    number: int = -1
    fence = True

    def pass_through(self, state: State) -> list[State]:
        return [state.with_model(self.into, state.snapshots[self.archive_of][self.number])]

    def perform(self, run: Run) -> int:
        name = run.db.list_snapshots(self.archive_of)[self.number].name
        archive = run.path / "snapshots" / self.archive_of / name
        run.spaces[self.into] = run.spaces[self.archive_of]
        run.db.recover_snapshot(self.into, archive)
        return 0


# -- what changes no state ---------------------------------------------------------------------


@dataclass(frozen=True)
class Flush(Step):
    """Checkpoint."""

    into: str = "c"
    fence = True

    def perform(self, run: Run) -> int:
        run.db.flush(self.into)
        return 0


@dataclass(frozen=True)
class Reopen(Step):
    """Close the database and open it again."""

    into = "*"
    fence = True

    def perform(self, run: Run) -> int:
        run.reopen()
        return 0


@dataclass(frozen=True)
class Optimize(Step):
    """The optimizer's next step; the inner steps when the new segment is written and before it
    is committed."""

    during: tuple[Step, ...] = ()
    indexed: bool = False
    """The new segment must have an index of every vector name."""
    into: str = "c"

    def inner(self) -> tuple[tuple[Step, ...], ...]:
        return (self.during,) if self.during else ()

    def perform_all(self, run: Run, lanes: Lanes) -> int:
        left = [task for lane in lanes for task in lane]
        finish_rows = SegmentBuilder.finish_rows  # no lock is held there

        def finish_later(builder: SegmentBuilder) -> None:
            SegmentBuilder.finish_rows = finish_rows  # type: ignore[method-assign]
            while left:
                left.pop(0)()
            finish_rows(builder)

        if left:
            SegmentBuilder.finish_rows = finish_later  # type: ignore[method-assign, assignment]
        store = run.db.collection(self.into)._store
        if not run.db.optimizer.run_once(store) or left:
            raise AssertionError(f"{self}: there was nothing to optimize")
        wanted = set(run.spaces[self.into].vectors)
        found = [set(state.segment.indexes) for state in store.files.values()]
        if self.indexed and wanted not in found:
            raise AssertionError(f"{self}: it wrote indexes of {found}")
        return 0

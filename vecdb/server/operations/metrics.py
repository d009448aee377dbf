"""The operation that gives the figures of the server to Prometheus."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from vecdb import __version__, errors
from vecdb.server.answers import Text
from vecdb.server.counters import GRPC, Durations
from vecdb.server.figures import Figures
from vecdb.server.service import Service
from vecdb.server.table import Call, Right, operation

_CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

Labels = Mapping[str, str]


class Families:
    """Figures by name, as text."""

    def __init__(self, prefix: str) -> None:
        self._prefix = prefix
        self._lines: list[str] = []

    def add(self, name: str, kind: str, help: str, figures: Iterable[tuple[Labels, float]]) -> None:
        """One family: figures by their labels."""
        name = self._prefix + name
        lines = [f"{name}{_labels(labels)} {figure:.10g}" for labels, figure in figures]
        if lines:
            self._lines += [f"# HELP {name} {help}", f"# TYPE {name} {kind}", *lines]

    def one(self, name: str, kind: str, help: str, figure: float) -> None:
        """A family of one figure."""
        self.add(name, kind, help, [({}, figure)])

    def text(self) -> str:
        """All of them."""
        return "\n".join(self._lines) + "\n"


def _labels(labels: Labels) -> str:
    if not labels:
        return ""
    return "{" + ",".join(f'{name}="{_escaped(value)}"' for name, value in labels.items()) + "}"


def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


@operation(Right.READ, at_writer=True)
async def metrics(service: Service, call: Call) -> Any:
    """Give the figures of the server to Prometheus."""
    await service.follow()
    apart, figures = call.options.get("per_collection") == "true", service.figures_of_all()
    text = await service.lanes.read(None, lambda: _text(service, figures, apart), call.timeout)
    return Text(text, _CONTENT_TYPE)


def _text(service: Service, figures: Figures, by_collection: bool) -> str:
    families = Families(service.settings.metrics_prefix)
    version = service.settings.api_version
    families.add("app_info", "gauge", "information about qdrant server", [_info("qdrant", version)])
    families.one("app_status_recovery_mode", "gauge", "whether the server only recovers", 0)
    _collections(families, service)
    families.one("cluster_enabled", "gauge", "whether there is a cluster", 0)
    _responses(families, figures, by_collection)
    _processes(families, figures)
    _own(families, figures)
    return families.text()


def _info(name: str, version: str) -> tuple[Labels, float]:
    return {"name": name, "version": version}, 1


def _collections(families: Families, service: Service) -> None:
    database = service.database.database
    points: dict[str, int] = {}
    vectors: dict[str, int] = {}
    running: dict[str, int] = {}
    log: dict[str, int] = {}
    names = [each.name for each in database.get_collections().collections]
    for name in names:
        try:
            info = database.collection(name).info()
        except errors.VecdbError:  # damaged, or deleted this moment
            continue
        points[name], vectors[name] = info.points_count, info.vectors_count
        running[name] = int(info.optimizer_progress.running is not None)
        log[name] = info.wal_bytes
    families.one("collections_total", "gauge", "number of collections", len(names))
    total = sum(vectors.values())
    families.one("collections_vector_total", "gauge", "vectors of all collections", total)
    by_id = {
        "collection_points": (points, "points of a collection"),
        "collection_vectors": (vectors, "vectors of a collection"),
        "collection_running_optimizations": (running, "work of the optimizer that is under way"),
        "vecdb_wal_bytes": (log, "bytes in the log of a collection"),
    }
    for family, (figures, help) in by_id.items():
        families.add(family, "gauge", help, [({"id": n}, f) for n, f in figures.items()])
    damaged = len(service.database.damaged)
    families.one("vecdb_damaged_collections", "gauge", "collections that cannot be used", damaged)


def _responses(families: Families, figures: Figures, by_collection: bool) -> None:
    """Answers by what was asked: a method of a path, or a method of gRPC."""
    rows: dict[str, list[tuple[Labels, Durations]]] = {"rest": [], "grpc": []}

    def add(method: str, path: str, status: int, durations: Durations, **more: str) -> None:
        labels = {"endpoint": path, "status": str(status), **more}
        if method == GRPC:
            rows["grpc"].append((labels, durations))
        else:
            rows["rest"].append(({"method": method, **labels}, durations))

    if by_collection:
        for (method, path, status, name), durations in figures.by_collection.items():
            add(method, path, status, durations, collection=name)
    else:
        for (method, path, status), durations in figures.requests.items():
            add(method, path, status, durations)
    for protocol, success in (("rest", "200"), ("grpc", "0")):
        counts = [(labels, d.count) for labels, d in rows[protocol]]
        families.add(f"{protocol}_responses_total", "counter", "answers", counts)
        timed = [(labels, d) for labels, d in rows[protocol] if labels["status"] == success]
        for kind in ("avg", "min", "max"):
            families.add(
                f"{protocol}_responses_{kind}_duration_seconds",
                "gauge",
                f"{kind} time of an answer",
                [(labels, _seconds(d, kind)) for labels, d in timed],
            )


def _seconds(durations: Durations, kind: str) -> float:
    if kind == "avg":
        return durations.total / durations.count
    return durations.least if kind == "min" else durations.most


def _processes(families: Families, figures: Figures) -> None:
    resident, virtual = figures.resident_bytes, figures.virtual_bytes
    families.one("memory_resident_bytes", "gauge", "memory of the process", resident)
    families.one("memory_virtual_bytes", "gauge", "addresses of the process", virtual)
    families.one("process_threads", "gauge", "threads of the process", figures.threads)
    families.one("process_open_fds", "gauge", "open files of the process", figures.open_files)


def _own(families: Families, figures: Figures) -> None:
    families.add("vecdb_info", "gauge", "version of vecdb", [_info("vecdb", __version__)])
    families.one("vecdb_processes", "gauge", "processes that answer", figures.processes)
    families.one("vecdb_in_flight", "gauge", "requests under way", figures.in_flight)
    families.one("vecdb_tasks", "gauge", "tasks of event loops", figures.tasks)
    families.one("vecdb_reads_waiting", "gauge", "reads that have a thread", figures.waiting)
    families.add(
        "vecdb_reads_total",
        "counter",
        "reads by where they ran",
        [({"lane": lane}, count) for lane, count in figures.lanes.items()],
    )
    families.add(
        "vecdb_refusals_total",
        "counter",
        "requests that were refused before anything was done",
        [({"reason": reason}, count) for reason, count in figures.refusals.items()],
    )
    families.add(
        "vecdb_clients_total",
        "counter",
        "requests by client",
        [({"client": client.decode()}, count) for client, count in figures.clients.items()],
    )
    families.add(
        "vecdb_dropped_fields_total",
        "counter",
        "unknown fields that were left out of requests",
        [({"field": field}, count) for field, count in figures.dropped_fields.items()],
    )
    families.one(
        "vecdb_loop_delay_seconds", "gauge", "how late the event loop was", figures.loop_delay
    )

"""Results as Markdown tables: for the terminal, and between the markers of a page."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from benchmarks import report_filters
from benchmarks import tables as markdown
from benchmarks.curves import TARGETS
from benchmarks.tables import mib, number, table


def fill(page: str, results: dict[str, Any]) -> str:
    """The page with every table that the results have figures for (``tables.fill``)."""
    found = tables(results)
    if "systems" not in results:
        # The page's setting is that of its greater part: a run of some parts leaves it.
        del found["setting"]
    return markdown.fill(page, found, results["setting"]["data"]["name"], _TABLES)


def tables(results: dict[str, Any]) -> dict[str, str]:
    """Every table the results have figures for."""
    return {
        name: make(results)
        for name, (section, make) in _TABLES.items()
        if results.get(section) is not None
    }


def _setting(results: dict[str, Any]) -> str:
    setting = results["setting"]
    machine, data, versions = setting["machine"], setting["data"], setting["versions"]
    rows = [
        ("date", setting["date"]),
        ("processor", f"{machine['processor']}, one core of {machine['processors']}"),
        ("memory", f"{machine['memory_gib']} GiB"),
        ("system", machine["system"]),
        ("disk", f"{machine['filesystem']}, fdatasync of 4 KiB: {machine['fdatasync_ms']} ms"),
        ("versions", ", ".join(f"{name} {version}" for name, version in versions.items())),
        (
            "data",
            f"{data['name']}: {data['rows']:,} x {data['dim']}, {data['metric']}, "
            f"{data['queries']} queries",
        ),
        ("seed", str(setting["seed"])),
    ]
    if setting["quick"]:
        rows.append(("quick", "yes: these figures only show that the tool works"))
    return table(("", ""), rows)


def _quantization(results: dict[str, Any]) -> str:
    section = results["quantization"]
    rows = []
    for method in section["methods"]:
        for name, one in method["settings"].items():
            first = name in ("exact", "codes only")
            rows.append(
                [
                    method["name"] if first else "",
                    name if first or name == "default" else f"rescored {name}",
                    f"{one['recall']:.3f}",
                    number(1e3 * one["latency_ms"]["median"]),
                    f"{one['speed']:.2f}",
                    f"{method['compression']:.1f}" if first else "",
                    number(method["build_seconds"]) if first else "",
                ]
            )
    head = ("codes", "search", "recall@10", "µs", "speed", "compression", "build s")
    return table(head, rows)


def _ingest(results: dict[str, Any]) -> str:
    section = results["ingest"]
    rows = []
    for name, way in section["ways"].items():
        rate, settle = way["points_per_second"], way.get("settle_seconds")
        rows.append(
            [
                name,
                f"{rate['median']:,.0f}",
                f"{rate['min']:,.0f} to {rate['max']:,.0f}",
                str(rate["runs"]),
                number(settle["median"]) if settle else "–",
                way["note"],
            ]
        )
    note = "".join(f"Not measured: {n} ({why}). " for n, why in section["skipped"].items()).strip()
    head = ("", "points/s", "range", "runs", "then s", "how")
    return table(head, rows, note)


def _opening(results: dict[str, Any]) -> str:
    section = results["opening"]
    rows = [
        [name, number(one["median"]), number(one["min"]), number(one["max"]), str(one["runs"])]
        for name, one in (
            *section["seconds"].items(),
            ("clean, RAM, first in a process", section["fresh_process"]),
        )
    ]
    note = (
        f"{section['rows']:,} points. After SIGKILL {section['replayed_operations']} operations "
        f"were replayed; the WAL had {mib(section['wal_bytes'])} MiB."
    )
    return table(("", "median s", "min", "max", "runs"), rows, note)


def _import(results: dict[str, Any]) -> str:
    section = results["import"]
    names = {
        "import_vecdb": "`import vecdb`, numpy loaded",
        "import_vecdb_and_VecDB": "the same and the class `VecDB`",
        "process_with_numpy": "whole process, `import numpy`",
        "process_with_vecdb": "whole process, `import numpy; import vecdb`",
    }
    rows = [
        [text, number(1e3 * section[name]["median"]), str(section[name]["runs"])]
        for name, text in names.items()
    ]
    loaded = ", ".join(section["loaded_by_import"]) or "neither numba nor lmdb"
    return table(("", "median ms", "runs"), rows, f"`import vecdb` loads {loaded}.")


def _overhead(results: dict[str, Any]) -> str:
    rows = []
    for name, case in results["overhead"]["cases"].items():
        off, on = case["payload off"], case["payload on"]
        rows.append(
            [
                name,
                number(case["kernels_us"]["median"]),
                number(off["call_us"]["median"]),
                number(off["overhead_us"]["median"]),
                number(on["call_us"]["median"]),
                number(on["overhead_us"]["median"]),
                str(off["call_us"]["runs"]),
            ]
        )
    head = ("", "kernels µs", "call µs", "beyond", "call, payload", "beyond, payload", "pairs")
    return table(head, rows)


def _kernels(results: dict[str, Any]) -> str:
    section = results["kernels"]
    rates = section["gb_per_second"]
    read = rates["plain read"]["median"]
    rows = [
        [name, number(rate["median"]), number(rate["max"]), f"{rate['median'] / read:.0%}"]
        for name, rate in rates.items()
    ]
    note = f"{mib(section['bytes'])} MiB of data, {section['dim']} dimensions, in turns."
    return table(("kernel", "GB/s", "best", "of a plain read"), rows, note)


def _memory(results: dict[str, Any]) -> str:
    section = results["memory"]
    rows = []
    for name, mode in section["modes"].items():
        before, after, report = mode["before"], mode["searched"], mode["report_searched"]
        rows.append(
            [
                name,
                mib(1024 * (after["RssAnon"] - before["RssAnon"])),
                mib(report["anonymous"]),
                mib(1024 * (after["RssFile"] - before["RssFile"])),
                mib(report["resident"]),
                mib(report["file"]),
                mib(1024 * before["RssAnon"]),
            ]
        )
    head = (
        "MiB",
        "RssAnon grew",
        "report: anonymous",
        "RssFile grew",
        "report: resident",
        "files",
        "RssAnon before",
    )
    return table(head, rows)


def _systems(results: dict[str, Any]) -> str:
    """Time at equal recall."""
    targets = [str(target) for target in TARGETS]
    rows = []
    for name, one in _measured(results, "curve"):
        rows.append(
            [
                name,
                *(number(one["p50"][target]) for target in targets),
                *(number(one["p99"][target]) for target in targets),
                f"{one['best_recall']:.3f}",
                one["note"],
            ]
        )
    head = ("", *(f"p50 at {t}" for t in targets), *(f"p99 at {t}" for t in targets))
    return table((*head, "best recall", "settings"), rows, _left_out(results))


def _costs(results: dict[str, Any]) -> str:
    """What has to be paid before, and kept."""
    rows = []
    for name, one in _measured(results, "build"):
        built, again = one.get("memory_built"), one.get("memory_reopened")
        start, disk = one.get("start_seconds"), one.get("disk_bytes")
        rows.append(
            [
                f"{name} {one['version']}",
                f"{one['ingest']['seconds']:.2f}",
                f"{one['build']['seconds']:.2f}",
                f"{one['ingest']['cpu'] + one['build']['cpu']:.2f}",
                mib(built["RssAnon"]) if built else "–",
                mib(built["RssFile"]) if built else "–",
                mib(again["RssAnon"]) if again else "–",
                mib(again["RssFile"]) if again else "–",
                mib(disk) if disk else "–",
                number(start["median"]) if start else "–",
            ]
        )
    head = (
        *("", "ingest s", "build s", "both, CPU s", "anonymous", "files"),
        *("reopened: anonymous", "files", "disk MiB", "start s"),
    )
    return table(head, rows, " ".join(_index_bytes(results["systems"])))


def _index_bytes(found: dict[str, Any]) -> list[str]:
    """What the index adds to vectors and codes, where it has files of its own."""
    lines = []
    for name, one in found["systems"].items():
        parts = one.get("index_bytes")
        if parts and "vectors" in found:
            each = (f"{part} {size / found['vectors']:.1f}" for part, size in parts.items())
            lines.append(f"Bytes a vector beyond vectors and codes, {name}: {', '.join(each)}.")
    return lines


def _busy(results: dict[str, Any]) -> str:
    """Searches during a build."""
    rows = []
    for name, one in _measured(results, "busy"):
        busy = one["busy"]
        before, during, after = busy.get("before"), busy["during"], busy["after"]
        idle = max(part["p99"] for part in (before, after) if part)
        rows.append(
            [
                name,
                *(number(before[key] if before else None) for key in ("p50", "p99")),
                *(number(after[key]) for key in ("p50", "p99")),
                *(number(during[key]) for key in ("p50", "p99", "longest")),
                str(during["searches"]),
                number(during["p99"] / idle),
                number(busy["build_seconds"]),
            ]
        )
    head = ("ms", "before: p50", "p99", "after: p50", "p99", "while building: p50", "p99")
    failures = [
        f"{name}: {text}."
        for name, one in results["systems"]["systems"].items()
        for text in one.get("failed", ())
        if text.startswith("busy")
    ]
    return table((*head, "longest", "searches", "p99 / idle", "build s"), rows, " ".join(failures))


def _batch(results: dict[str, Any]) -> str:
    """Many queries at once."""
    rows = []
    for name, one in _measured(results, "batch"):
        batch = one["batch"]
        rows.append(
            [
                name,
                f"{batch['single_per_second']:,.0f}",
                f"{batch['batch_per_second']:,.0f}",
                f"{batch['gain']:.2f}",
                f"{batch['recall']:.3f}",
            ]
        )
    return table(("", "one by one /s", "batch of 100 /s", "gain", "recall@10"), rows)


def _growth(results: dict[str, Any]) -> str:
    section = results["growth"]
    rows = []
    for size in section["sizes"]:
        vectors = f"{size['rows']:,} x {size['dim']}"
        for name, one in size["systems"].items():
            if "p50" in one:
                cost = one["ingest"]["seconds"], one["build"]["seconds"]
                times = [one[figure]["0.95"] for figure in ("p50", "p99")]
                memory = one["memory_built"]["RssAnon"]
                numbers = [*map(number, (*times, *cost)), mib(memory)]
                rows.append([vectors, name, *numbers])
            else:
                rows.append([vectors, name, *["–"] * 5])
    head = ("vectors", "", "p50 at 0.95", "p99 at 0.95", "ingest s", "build s", "anonymous MiB")
    note = f"Built on {section['cores']} cores, searched on one."
    return table(head, rows, note)


def _measured(results: dict[str, Any], part: str) -> list[tuple[str, dict[str, Any]]]:
    return [(name, one) for name, one in results["systems"]["systems"].items() if part in one]


def _left_out(results: dict[str, Any]) -> str:
    section = results["systems"]
    failed = {name: "; ".join(one.get("failed", ())) for name, one in section["systems"].items()}
    reasons = {**section["skipped"], **{name: why for name, why in failed.items() if why}}
    return "".join(f"{name}: {why}. " for name, why in reasons.items()).strip()


_TABLES: dict[str, tuple[str, Callable[[dict[str, Any]], str]]] = {
    "setting": ("setting", _setting),
    "systems": ("systems", _systems),
    "costs": ("systems", _costs),
    "busy": ("systems", _busy),
    "batch": ("systems", _batch),
    "growth": ("growth", _growth),
    "quantization": ("quantization", _quantization),
    "ingest": ("ingest", _ingest),
    "opening": ("opening", _opening),
    "import": ("import", _import),
    "overhead": ("overhead", _overhead),
    "kernels": ("kernels", _kernels),
    "memory": ("memory", _memory),
    "filters": ("filters", report_filters.beside),
    "filters-numpy": ("filters", report_filters.numpy),
    "filters-index": ("filters", report_filters.indexes),
}

"""Footprints as Markdown tables."""

from __future__ import annotations

from typing import Any

from benchmarks import report
from benchmarks import tables as markdown
from benchmarks.tables import mib, number, table

PAGE = 4096
TABLES = ("setting", "memory", "cold", "limits")


def tables(results: dict[str, Any]) -> dict[str, str]:
    """Every table the results have figures for."""
    cells = results["cells"]
    found = {"setting": report.tables({"setting": results["setting"]})["setting"]}
    if cells:
        found |= {"memory": _memory(results), "cold": _cold(results)}
    if any("limits" in cell for cell in cells):
        found["limits"] = _limits(results)
    return found


def fill(page: str, results: dict[str, Any]) -> str:
    """The page with these tables (``tables.fill``)."""
    return markdown.fill(page, tables(results), results["setting"]["data"]["name"], TABLES)


def _names(cell: dict[str, Any]) -> list[str]:
    return [f"{cell['system']} {cell['version']}", cell["codes"], cell["mode"]]


def _memory(results: dict[str, Any]) -> str:
    """What a fresh process takes after its searches, and what they are worth."""
    rows = []
    for cell in results["cells"]:
        free = cell["free"]
        searched, warm = free["searched"], free["warm"]
        rows.append(
            [
                *_names(cell),
                mib(searched["anonymous"]),
                mib(searched["database"]),
                mib(searched["anonymous"] + searched["database"]),
                mib(free["process"]["anonymous"]),
                mib(searched["files"] - searched["database"]),
                mib(cell["disk_bytes"]),
                number(warm["p50"]),
                number(warm["p99"]),
                f"{warm['recall']:.3f}",
            ]
        )
    head = (
        *("", "codes", "mode", "anonymous", "mapped", "both", "at the start"),
        *("libraries", "disk", "p50 µs", "p99 µs", "recall@10"),
    )
    return table(head, rows, f"MiB. Originals: {mib(results['original_bytes'])}. {_left(results)}")


def _cold(results: dict[str, Any]) -> str:
    """The first searches of a fresh process, nothing of the files in the page cache."""
    cells = results["cells"]
    rows = []
    for cell in cells:
        free = cell["free"]
        cold, warm = free["cold"], free["warm"]
        rows.append(
            [
                *_names(cell),
                f"{free['open_seconds']:.2f}",
                number(cold["p50"] / 1e3),
                number(cold["p99"] / 1e3),
                number(cold["disk_p50"] / PAGE),
                number(cold["each"]["disk"] / PAGE),
                number(cold["each"]["major"]),
                number(cold["each"]["minor"]),
                mib(cold["cached"]),
                number(warm["each"]["minor"]),
            ]
        )
    head = (
        *("", "codes", "mode", "open s", "p50 ms", "p99 ms", "pages, median", "pages, mean"),
        *("major faults", "minor faults", "then cached MiB", "minor faults, warm"),
    )
    searches, ahead = cells[0]["free"]["cold"]["searches"], results["read_ahead_bytes"]
    note = f"The first {searches} searches. Pages of 4 KiB, from the disk."
    if ahead:
        note += f" The kernel reads up to {ahead >> 10:,} KiB around one that is missing."
    return table(head, rows, note)


def _limits(results: dict[str, Any]) -> str:
    """Milliseconds under a limit of memory, at first and later, and pages a later search reads."""
    sizes = {
        name: one["limit_bytes"]
        for cell in results["cells"]
        for name, one in cell.get("limits", {}).items()
    }
    rows = []
    for cell in results["cells"]:
        row = [*_names(cell), number(cell["free"]["warm"]["p50"] / 1e3)]
        for name in sizes:
            one = cell.get("limits", {}).get(name)
            if one is None:
                row += ["–"] * 3
            elif "failed" in one:
                row += [one["failed"], "–", "–"]
            else:
                row += [
                    number(one["cold"]["p50"] / 1e3),
                    number(one["warm"]["p50"] / 1e3),
                    number(one["warm"]["each"]["disk"] / PAGE),
                ]
        rows.append(row)
    head = ["p50 ms", "codes", "mode", "no limit"]
    for name, size in sizes.items():
        limit = f"{mib(size)} MiB" if name.endswith("B") else f"{name} ({mib(size)} MiB)"
        head += [f"{limit}: cold", "warm", "pages"]
    return table(head, rows, "Pages of 4 KiB that a warm search reads from the disk, mean.")


def _left(results: dict[str, Any]) -> str:
    """What was not measured, and why."""
    reasons = {**results["skipped"], **results["failed"]}
    if results["no_limits"]:
        reasons["limits of memory"] = results["no_limits"]
    return "".join(f"Not measured: {name} ({why}). " for name, why in reasons.items()).strip()

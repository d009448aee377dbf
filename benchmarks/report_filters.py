"""The tables of filters: beside peers, beside NumPy, and of creating indexes."""

from __future__ import annotations

from typing import Any

from benchmarks.tables import number, table

_EFFORTS = {
    "Qdrant Edge scalar": "hnsw_ef and oversampling",
    "zvec": "ef and candidates a result that are rescored",
}


def beside(results: dict[str, Any]) -> str:
    """Searches with a filter, each system's p50 with its recall."""
    section = results["filters"]
    labels = list(section["systems"])
    peers = [label for label in labels if label != "vecdb"]
    rows = []
    for case in section["cases"]:
        systems = case["systems"]
        cells = [f"{case['name']}, {case['share']:.1%}" if case["share"] < 1 else case["name"]]
        for label in labels:
            one = systems.get(label)
            cells += [number(one["p50"]), _recall(one)] if one else ["–", "–"]
        cells += [_share(systems, label) for label in peers]
        rows.append(cells)
    head = [""]
    for label in labels:
        head += [f"{label} µs", "recall"]
    head += [f"of {label}" for label in peers]
    versions = [f"{label} {one['version']}" for label, one in section["systems"].items()]
    settings = [f"{label}: {_EFFORTS[label]}" for label in labels if label in _EFFORTS]
    left_out = [f"Not measured: {label} ({why})." for label, why in section["skipped"].items()]
    first = f"{section['rows']:,} points, {section['queries']} queries, {_date(results)}."
    said = f"{', '.join(versions)}."
    said += f" In brackets, {'; '.join(settings)}." if settings else ""
    return table(head, rows, " ".join([first, said, *left_out]))


def numpy(results: dict[str, Any]) -> str:
    """Each figure of vecdb beside what it is measured by, and how many times that we aim for."""
    found = results["filters"]["numpy"]
    shares, keyword, facet = found["shares"], found["keyword"], found["facet"]
    rows = [
        _pair("keyword, 1 %: mask", keyword["mask_us"], keyword["numpy_us"], "`==`", "1.5"),
        *(
            _pair(f"range, {_percent(share)}: mask", one["mask_us"], one["numpy_us"], "`<`", "1.5")
            for share, one in shares.items()
        ),
        _pair(
            "keyword, 1 %: count",
            keyword["count_us"],
            keyword["numpy_count_us"],
            "`count_nonzero`",
            "2",
        ),
        *(
            _pair(
                f"range, {_percent(share)}: count",
                one["count_us"],
                one["numpy_count_us"],
                "`count_nonzero`",
                "2",
            )
            for share, one in shares.items()
        ),
        _pair("facet of 1,000 values", facet["facet_us"], facet["numpy_us"], "`bincount`", "2"),
        *(
            _pair(
                f"range, {_percent(share)}: exact search",
                one["exact_us"],
                one["kernel_us"],
                "the kernel on those rows",
                "2" if share == "0.001" else "–",
            )
            for share, one in shares.items()
            if "kernel_us" in one
        ),
        *(_beside_unfiltered(share, one, found["unfiltered"]) for share, one in shares.items()),
    ]
    sizes = (
        f"{field} {size['column'] / size['raw']:.2f} times ({size['column']:,} of {size['raw']:,})"
        for field, size in found["bytes"].items()
    )
    note = (
        f"{results['filters']['rows']:,} points, {_date(results)}. Bytes of a column against the "
        f"values alone (8 bytes a number, or the text), aim 1.2 times: {', '.join(sizes)}."
    )
    return table(("", "vecdb µs", "beside", "µs", "times", "aim"), rows, note)


def indexes(results: dict[str, Any]) -> str:
    """Creating two indexes of payloads, and searches meanwhile."""
    section = results["filters"]["created"]
    rows = [
        [
            f"{label}, {cores}",
            *(f"{one[name]['median']:.3f}" for name in ("alone_seconds", "seconds")),
            *(number(one[name]) for name in ("idle_p99", "p99")),
            number(one["p99"] / one["idle_p99"]),
            *(number(one["longest"]), str(one["searches"])),
        ]
        for label, each in section["systems"].items()
        for cores, one in each.items()
    ]
    left_out = [f"Not measured: {label} ({why})." for label, why in section["skipped"].items()]
    note = [
        f"{results['filters']['rows']:,} points, two fields, {section['cores']} cores, "
        f"{_date(results)}.",
        *left_out,
    ]
    head = ("", "alone s", "with searches s", "idle: p99 µs", "meanwhile: p99 µs")
    return table((*head, "p99 / idle", "longest µs", "searches"), rows, " ".join(note))


def _pair(name: str, one: Any, other: Any, what: str, aim: str) -> list[str]:
    mine, its = one["median"], other["median"]
    return [name, number(mine), what, number(its), f"{mine / its:.2f}", aim]


def _share(systems: dict[str, Any], label: str) -> str:
    """What vecdb takes of a peer's time."""
    if "vecdb" not in systems or label not in systems:
        return "–"
    return f"{systems['vecdb']['p50'] / systems[label]['p50']:.0%}"


def _recall(one: dict[str, Any]) -> str:
    """With the setting of a peer."""
    if one["effort"] is None:
        return f"{one['recall']:.3f}"
    return f"{one['recall']:.3f} ({', '.join(f'{each:g}' for each in one['effort'])})"


def _beside_unfiltered(share: str, one: dict[str, Any], unfiltered: list[dict[str, Any]]) -> Any:
    """With the cheapest search without a filter that finds as much, or finds most."""
    enough = [each for each in unfiltered if each["recall"] >= one["recall"]]
    other = enough[0] if enough else unfiltered[-1]
    return _pair(
        f"range, {_percent(share)}: search, recall {one['recall']:.3f}",
        one["search_us"],
        other["search_us"],
        f"no filter, recall {other['recall']:.3f}",
        "2" if share == "0.1" else "–",
    )


def _percent(share: str) -> str:
    return f"{100 * float(share):g} %"


def _date(results: dict[str, Any]) -> str:
    return str(results["setting"]["date"]).partition("T")[0]

"""Recall against time, all systems of one run, as a picture."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from benchmarks.curves import pareto


def draw(results: dict[str, Any], folder: Path) -> Path:
    """Write ``<data set>.png`` into the folder. Needs matplotlib (the extra ``bench``)."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot
    from matplotlib.ticker import FuncFormatter

    data = results["setting"]["data"]
    figure, axes = pyplot.subplots(figsize=(8, 5.5), layout="constrained")
    colours = pyplot.get_cmap("tab20")
    for number, (label, system) in enumerate(results["systems"]["systems"].items()):
        if "curve" not in system:
            continue
        front = pareto(system["curve"])
        ours = label.startswith("vecdb")
        axes.plot(
            [point["recall"] for point in front],
            [point["p50"] for point in front],
            marker="o" if ours else ".",
            linewidth=2.5 if ours else 1.2,
            color=("black" if label == "vecdb" else "dimgray") if ours else colours(number % 20),
            label=label,
        )
    axes.set_yscale("log")
    axes.set_xlim(0.8, 1.002)
    axes.set_xlabel("recall@10")
    axes.set_ylabel("p50 of one search, µs")
    plain = FuncFormatter(lambda value, _: f"{value:,.0f}")
    axes.yaxis.set_major_formatter(plain)
    axes.set_title(
        f"{data['name']}: {data['rows']:,} x {data['dim']}, {data['metric']}, one core", loc="left"
    )
    axes.grid(True, which="both", alpha=0.25)
    axes.legend(fontsize=8)
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{data['name']}.png"
    figure.savefig(path, dpi=120)
    pyplot.close(figure)
    return path

"""Footprints as pictures."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from benchmarks.footprint.cells import ALL_IN_RAM, ALL_ON_DISK, CODES_IN_RAM

_MODES = {ALL_IN_RAM: "s", CODES_IN_RAM: "o", ALL_ON_DISK: "^"}
"""Markers."""


def draw(results: dict[str, Any], folder: Path) -> list[Path]:
    """Write ``<data set>-memory.png`` and ``-limits.png`` into the folder, the second where limits
    were measured. Needs matplotlib (the extra ``bench``)."""
    import matplotlib

    matplotlib.use("Agg")
    folder.mkdir(parents=True, exist_ok=True)
    name = results["setting"]["data"]["name"]
    paths = [_memory(results, folder / f"{name}-memory.png")]
    if any("limits" in cell for cell in results["cells"]):
        paths.append(_limits(results, folder / f"{name}-limits.png"))
    return paths


def _memory(results: dict[str, Any], path: Path) -> Path:
    """Left, what each cell has resident; right, what a search takes for what must be."""
    from matplotlib import pyplot

    cells = results["cells"]
    height = 1.6 + 0.27 * len(cells)
    figure, (bars, points) = pyplot.subplots(
        1, 2, figsize=(13, max(height, 4.5)), layout="constrained"
    )
    places = range(len(cells), 0, -1)
    anonymous = [cell["free"]["searched"]["anonymous"] / 2**20 for cell in cells]
    mapped = [cell["free"]["searched"]["database"] / 2**20 for cell in cells]
    bars.barh(places, anonymous, color="tab:red", label="anonymous")
    bars.barh(places, mapped, left=anonymous, color="tab:blue", alpha=0.5, label="mapped, resident")
    originals = results["original_bytes"] / 2**20
    bars.axvline(originals, color="black", linewidth=1, linestyle=":", label="originals")
    bars.set_yticks(places, [_row(cell) for cell in cells], fontsize=8)
    bars.set_xlabel("MiB after the searches, the process itself included")
    bars.legend(fontsize=8, loc="upper center", bbox_to_anchor=(0.5, -0.12), ncols=3)
    bars.set_title(_title(results), loc="left", fontsize=10)
    colours = _colours(cells)
    for cell, private in zip(cells, anonymous, strict=True):
        points.scatter(
            private,
            cell["free"]["warm"]["p50"],
            marker=_MODES[cell["mode"]],
            color=colours[_series(cell)],
        )
    points.set_xlim(left=0)
    points.set_yscale("log")
    _plain(points)
    points.set_xlabel("MiB anonymous")
    points.set_ylabel("p50 of a search, µs")
    points.set_title("square: all in RAM; circle: codes in RAM; triangle: all on disk", fontsize=9)
    points.grid(True, which="both", alpha=0.25)
    _name_series(points, colours)
    return _save(figure, path)


def _limits(results: dict[str, Any], path: Path) -> Path:
    """The median search under each limit, a panel a mode."""
    from matplotlib import pyplot

    cells = [cell for cell in results["cells"] if "limits" in cell]
    names = ["no limit", *dict.fromkeys(name for cell in cells for name in cell["limits"])]
    colours = _colours(cells)
    figure, panels = pyplot.subplots(
        1, len(_MODES), figsize=(13, 4.5), sharey=True, layout="constrained"
    )
    for panel, mode in zip(panels, _MODES, strict=True):
        for cell in cells:
            if cell["mode"] != mode:
                continue
            found = [
                cell["free"],
                *(cell["limits"].get(name, {"failed": ""}) for name in names[1:]),
            ]
            fits = [(at, one) for at, one in enumerate(found) if "failed" not in one]
            for part, style in (("warm", "-"), ("cold", ":")):
                panel.plot(
                    [at for at, _ in fits],
                    [one[part]["p50"] / 1e3 for _, one in fits],
                    style,
                    marker=_MODES[mode],
                    color=colours[_series(cell)],
                )
        panel.set_title(mode, loc="left", fontsize=10)
        panel.set_xticks(range(len(names)), names)
        panel.set_yscale("log")
        panel.grid(True, which="both", alpha=0.25)
    _plain(panels[0])
    panels[0].set_ylabel("p50 of a search, ms (dotted: the first ones)")
    panels[0].set_xlim(-0.2, len(names) - 0.8)
    _name_series(panels[0], colours)
    figure.suptitle(f"{_title(results)}; a line ends where it does not fit", fontsize=10)
    return _save(figure, path)


def _series(cell: dict[str, Any]) -> str:
    return f"{cell['system']}, {cell['codes']}"


def _row(cell: dict[str, Any]) -> str:
    return f"{_series(cell)}: {cell['mode']}"


def _colours(cells: list[dict[str, Any]]) -> dict[str, Any]:
    """One for each system and its codes."""
    from matplotlib import pyplot

    colours = pyplot.get_cmap("tab10")
    return {name: colours(at % 10) for at, name in enumerate(dict.fromkeys(map(_series, cells)))}


def _name_series(axes: Any, colours: dict[str, Any]) -> None:
    from matplotlib.lines import Line2D

    lines = [Line2D([], [], color=colour, label=name) for name, colour in colours.items()]
    axes.legend(handles=lines, fontsize=7)


def _plain(axes: Any) -> None:
    """Numbers as they are, not powers of ten."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,g}"))
    axes.yaxis.set_minor_formatter(NullFormatter())


def _title(results: dict[str, Any]) -> str:
    data = results["setting"]["data"]
    return f"{data['name']}: {data['rows']:,} x {data['dim']}, {data['metric']}, one core"


def _save(figure: Any, path: Path) -> Path:
    from matplotlib import pyplot

    figure.savefig(path, dpi=90)
    pyplot.close(figure)
    return path

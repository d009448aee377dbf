"""What is measured: a row for each system, its codes, and the storage mode."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from benchmarks.systems import MODES

ALL_IN_RAM, CODES_IN_RAM, ALL_ON_DISK = MODES


@dataclass(frozen=True)
class Cell:
    """One system with one kind of codes in one storage mode."""

    system: str
    codes: str
    mode: str
    moves: bool = True
    """Its files are those of the other modes: they are built once, and moved."""

    @property
    def label(self) -> str:
        return f"{self.system}, {self.codes}, {self.mode}"

    @property
    def files(self) -> str:
        """The name of its directory."""
        parts = (self.system, self.codes) if self.moves else (self.system, self.codes, self.mode)
        return "-".join("".join(filter(str.isalnum, part)) for part in parts)


def _rows(
    system: str, codes: Iterable[str], modes: Iterable[str], moves: bool = True
) -> list[Cell]:
    modes = list(modes)
    return [Cell(system, kind, mode, moves) for kind in codes for mode in modes]


CELLS: tuple[Cell, ...] = (
    # Without codes it has sketches only, which are where the originals are.
    *_rows("vecdb", ["none"], [ALL_IN_RAM, ALL_ON_DISK]),
    *_rows("vecdb", ["scalar", "binary", "product x16", "turbo, 4 bits"], MODES),
    *_rows("Qdrant Edge", ["scalar"], MODES, moves=False),
    *_rows("Qdrant Edge", ["binary"], [CODES_IN_RAM], moves=False),
    *_rows("FAISS IVF-PQ", ["product"], [ALL_IN_RAM, ALL_ON_DISK]),
    *_rows("LanceDB IVF-PQ", ["product"], [ALL_ON_DISK]),
)
"""Another mode or another kind of codes is another row."""


def chosen(systems: list[str] | None, codes: list[str] | None, peers: bool) -> list[Cell]:
    """The cells whose system and codes begin with one of the words; all where there are none."""

    def asked(name: str, words: list[str] | None) -> bool:
        return words is None or any(name.lower().startswith(word.lower()) for word in words)

    return [
        cell
        for cell in CELLS
        if asked(cell.system, systems)
        and asked(cell.codes, codes)
        and (peers or cell.system == "vecdb")
    ]

"""What the scripts share that write files from the code: make_api, make_verbs and make_async."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path

WIDTH = 100  # of a line, as in pyproject.toml


def in_brackets(before: str, items: list[str], after: str, indent: int) -> str:
    """One line, or the items on one of their own, or one line for each; as the formatter does."""
    inner, outer = " " * (indent + 4), " " * indent
    line, alone = f"{outer}{before}({', '.join(items)}){after}", f"{inner}{', '.join(items)}"
    if len(line) <= WIDTH:
        return line
    if len(alone) <= WIDTH:
        return f"{outer}{before}(\n{alone}\n{outer}){after}"
    return f"{outer}{before}(\n" + "".join(f"{inner}{i},\n" for i in items) + f"{outer}){after}"


def write_or_check(files: Mapping[Path, str]) -> int:
    """Write the files, or with ``--check`` say whether each is as it should be. The exit code."""
    wrong = 0
    for path, text in files.items():
        if "--check" in sys.argv[1:]:
            current = path.exists() and path.read_text(encoding="utf-8") == text
            script = Path(sys.argv[0]).name
            print(f"{path}: {'as it should be' if current else f'run python docs/{script}'}")
            wrong += not current
        else:
            path.write_text(text, encoding="utf-8")
            print(f"{path}: {len(text.splitlines())} lines")
    return 1 if wrong else 0

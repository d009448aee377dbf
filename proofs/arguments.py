"""Arguments of the proofs, checked at the door.

A run of hours must not fail at its end, and one that tests nothing must not look like one that
found nothing.
"""

from __future__ import annotations

from argparse import ArgumentTypeError
from collections.abc import Callable
from pathlib import Path


def at_least_one(text: str) -> int:
    """A number of things to do."""
    try:
        number = int(text)
    except ValueError:
        number = 0
    if number < 1:
        raise ArgumentTypeError(f"expected a number of at least 1, got {text!r}")
    return number


def file_to_write(text: str) -> Path:
    """A file that can be written when all is done."""
    path = Path(text)
    if not text or path.is_dir():
        raise ArgumentTypeError(f"expected the name of a file, got {text!r}")
    if not path.absolute().parent.is_dir():
        raise ArgumentTypeError(f"the directory {path.absolute().parent} does not exist")
    return path


def directory_with(record: str) -> Callable[[str], Path]:
    """A directory that a failure has left, in which this file is."""

    def directory(text: str) -> Path:
        if not (Path(text) / record).is_file():
            raise ArgumentTypeError(
                f"expected a directory that a failure left, with {record} in it, got {text!r}"
            )
        return Path(text)

    return directory

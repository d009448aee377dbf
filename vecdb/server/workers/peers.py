"""Peers: what a worker knows of the other processes of its server."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from vecdb.server.figures import Figures
from vecdb.server.workers.board import Board
from vecdb.server.workers.links import Writer

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Figures).decode


class Peers:
    """The others, as worker ``number`` of ``workers`` sees them. ``writer``: whom to ask for what
    is not done here; None: it is this process, or there is none."""

    def __init__(self, board: Board, number: int, workers: int, writer: Writer | None) -> None:
        self._board = board
        self._number = number
        self._workers = workers
        self.writer = writer
        self.read_only = False
        """Whether none of them writes. Another program may, which says nothing of its changes."""

    @property
    def has_writer(self) -> bool:
        """Whether one of the processes writes, or is not meant to."""
        return self.read_only or self._board.has_writer

    def changed(self, collections: bool) -> None:
        """This process has changed a collection, or which there are."""
        self._board.changed(collections)

    def news(self) -> tuple[int, int]:
        """How many changes there were of which collections there are, and of collections."""
        return self._board.collections, self._board.changes

    def show(self, figures: Figures) -> None:
        """Let others see the figures of this process."""
        self._board.write(self._number, _encode(figures))

    def figures(self) -> Iterator[Figures]:
        """What others have shown."""
        for number in range(self._workers):
            if number != self._number:
                text = self._board.read(number)
                if text:
                    yield _decode(text)

    def earlier(self) -> Figures:
        """What the process has counted that was this worker before."""
        text = self._board.read(self._number)
        return _decode(text) if text else Figures()

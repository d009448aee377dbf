"""Channel: what the parent and a worker tell each other, in bytes of one letter, some with a file.

It is a pair of sockets, so each end notices when the other process has ended, however it did.
"""

from __future__ import annotations

import asyncio
import errno
import socket
from collections import deque
from collections.abc import Callable

OPEN = b"o"
"""To a worker: open the database."""
CONNECTION = b"c"
"""To a worker, with a file: a caller's connection."""
GRPC_CONNECTION = b"g"
"""The same of a caller of gRPC."""
LINK = b"l"
"""To the parent, with a file: one end of a link to the writer, which is given that end."""
STOP = b"s"
"""To a worker: take no more requests, and end; said again, at once."""
CERTIFICATE = b"t"
"""To a worker: read the certificate anew."""
READY = b"r"
"""To the parent: requests can come."""

Handler = Callable[[socket.socket | None], None]
"""Is given the file that came along, and has to close it."""

_CLOSED_ON_EXEC: int = getattr(socket, "MSG_CMSG_CLOEXEC", 0)
_NOT_NOW = (errno.ETOOMANYREFS, errno.ENOBUFS, errno.ENOMEM)
"""Errors that pass without the socket saying so. The first: this user has too many files on their
way between processes, in this socket and in all others."""
_PAUSE = 0.01
"""Seconds after which it is tried again then."""


class Channel:
    """One end. What the other process is too busy to read waits here, in its order: a socket that
    is full is no process that has ended."""

    def __init__(self, end: socket.socket) -> None:
        self._end = end
        self._handlers: dict[bytes, Handler] = {}
        self._waiting: deque[tuple[bytes, socket.socket | None]] = deque()
        self._retry: asyncio.TimerHandle | None = None
        self._is_watched = False
        self._emptied: Callable[[], None] = lambda: None
        end.setblocking(False)

    def listen(
        self,
        handlers: dict[bytes, Handler],
        gone: Callable[[], None],
        emptied: Callable[[], None] = lambda: None,
    ) -> None:
        """Call the handlers of what comes, in the event loop. ``gone`` is called once when the
        other process has ended, ``emptied`` when nothing waits any more."""
        self._handlers, self._gone, self._emptied = handlers, gone, emptied
        asyncio.get_running_loop().add_reader(self._end, self._read)

    def _read(self) -> None:
        try:
            # One letter at a time: each has its own file.
            letter, files, _, _ = socket.recv_fds(self._end, 1, 1, _CLOSED_ON_EXEC)
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            letter, files = b"", []
        if not letter:
            asyncio.get_running_loop().remove_reader(self._end)
            self._gone()
            return
        self._handlers[letter](socket.socket(fileno=files[0]) if files else None)

    @property
    def is_full(self) -> bool:
        """Whether something waits for the other process to read what was told before."""
        return bool(self._waiting)

    @property
    def waiting(self) -> int:
        """How many letters wait for that."""
        return len(self._waiting)

    def tell(self, letter: bytes, file: socket.socket | None = None) -> bool:
        """Send a letter, perhaps with a file, now or when the other process has room for it. False:
        it has ended, and has not got it."""
        if not self._waiting:
            sent = self._send(letter, file)
            if sent is not None:
                return sent
        self._waiting.append((letter, None if file is None else file.dup()))
        return True

    def _send(self, letter: bytes, file: socket.socket | None) -> bool | None:
        """Whether it was sent. None: not now, and ``_send_waiting`` is called when it may be."""
        try:
            if file is None:
                self._end.send(letter)
            else:
                socket.send_fds(self._end, [letter], [file.fileno()])
        except (BlockingIOError, InterruptedError):
            if not self._is_watched:
                self._is_watched = True
                asyncio.get_running_loop().add_writer(self._end, self._send_waiting)
            return None
        except OSError as error:
            if error.errno not in _NOT_NOW:
                return False
            # The socket has room, so to watch it would call us again and again.
            self._stop_watching()
            self._retry = asyncio.get_running_loop().call_later(_PAUSE, self._send_waiting)
            return None
        return True

    def _send_waiting(self) -> None:
        while self._waiting:
            letter, file = self._waiting[0]
            if self._send(letter, file) is None:
                return
            self._waiting.popleft()  # sent, or to be read by nobody
            if file is not None:
                file.close()
        self._stop_watching()
        self._emptied()

    def _stop_watching(self) -> None:
        if self._is_watched:
            self._is_watched = False
            asyncio.get_running_loop().remove_writer(self._end)
        if self._retry is not None:
            self._retry.cancel()
            self._retry = None

    def close(self) -> None:
        """Of this end, and of what waits."""
        if self._end.fileno() >= 0:
            self._stop_watching()
            asyncio.get_running_loop().remove_reader(self._end)
        self._end.close()
        for _, file in self._waiting:
            if file is not None:
                file.close()
        self._waiting.clear()

"""Signals: held back from a block that must not stop half-way."""

from __future__ import annotations

import signal
import threading
from types import TracebackType
from typing import Any


class Uninterrupted:
    """Holds Ctrl-C, SIGTERM and SIGHUP back until the end of a block that must not stop half-way.

    Python runs signal handlers in the main thread only, between any two instructions, and handlers
    can be changed only there. A signal without a Python handler is left to the kernel.
    """

    _SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

    def __enter__(self) -> None:
        self._pending: list[Any] = []
        self._handlers: dict[int, Any] = {}
        if threading.current_thread() is not threading.main_thread():
            return
        try:
            for number in self._SIGNALS:
                handler = signal.getsignal(number)
                if callable(handler):
                    self._handlers[number] = handler
                    signal.signal(number, lambda *args: self._pending.append(args))
        except BaseException:  # of a handler that was not held back yet
            self._restore()
            raise

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._restore()
        for number, frame in self._pending:
            self._handlers[number](number, frame)

    def _restore(self) -> None:
        """Ctrl-C last: it may come at once, and would leave the others held back for ever."""
        for number, handler in reversed(self._handlers.items()):
            signal.signal(number, handler)

"""Errors that programs written for Qdrant's client catch.

Each is what a server answers (``UnexpectedResponse`` with its ``status_code``), what Qdrant's local
mode raises for the same mistake, and vecdb's own error. Whatever else vecdb raises (a full disk,
damaged files) has no counterpart there and comes as it is.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager

from httpx import Headers
from qdrant_client.http.exceptions import UnexpectedResponse

from vecdb.errors import (
    AlreadyExistsError,
    ClosedError,
    InvalidInputError,
    LockedError,
    NotFoundError,
    VecdbError,
)


class ResponseError(UnexpectedResponse):
    """A refusal in the form of a server's answer: ``status_code``, ``reason_phrase`` and JSON
    ``content``, of which ``structured()`` makes a dict. As text it is vecdb's message."""

    STATUS = 500
    REASON = "Internal Server Error"

    def __init__(self, message: str) -> None:
        content = json.dumps({"status": {"error": message}, "time": 0.0}).encode()
        super().__init__(self.STATUS, self.REASON, content, Headers())
        self.args = (message,)

    def __str__(self) -> str:
        return str(self.args[0])


class BadRequest(ResponseError, InvalidInputError):
    """400, a ``ValueError``: the request is wrong, or asks for what vecdb has not."""

    STATUS = 400
    REASON = "Bad Request"


class NotFound(ResponseError, NotFoundError, ValueError):
    """404, a ``ValueError`` as in local mode: no such collection, point or vector name."""

    STATUS = 404
    REASON = "Not Found"


class Conflict(ResponseError, AlreadyExistsError):
    """409, a ``ValueError``: there is one of that name; the text has "already exists"."""

    STATUS = 409
    REASON = "Conflict"


class NotSupported(ResponseError, InvalidInputError, NotImplementedError):
    """501, a ``NotImplementedError`` as in local mode: vecdb has no such verb."""

    STATUS = 501
    REASON = "Not Implemented"


class AlreadyOpen(LockedError, RuntimeError):
    """The path is open elsewhere; a ``RuntimeError`` as in local mode."""


class ClientClosed(ClosedError, RuntimeError):
    """The client was used after ``close``; a ``RuntimeError`` as in local mode."""

    def __init__(self, message: str = "this client is closed. Please make a new one") -> None:
        super().__init__(message)


_MISSING = re.compile(r"""collection (?P<quote>['"])(?P<name>.*?)(?P=quote) """, re.DOTALL)


def as_raised_there(error: VecdbError, collection_name: object = None) -> Exception:
    """The error that stands for one of vecdb's."""
    text = str(error)
    if isinstance(error, (UnexpectedResponse, AlreadyOpen, ClientClosed)):
        return error
    if isinstance(error, NotFoundError):
        missing = _MISSING.match(text)
        if missing is not None:  # worded so that either kind of program finds its words
            text = f"Collection {missing['name']} not found, it doesn't exist: {text}"
        return NotFound(text)
    if isinstance(error, AlreadyExistsError):
        return Conflict(text)
    if isinstance(error, InvalidInputError):
        return BadRequest(text)
    if isinstance(error, LockedError):
        return AlreadyOpen(f"already accessed by another instance: {text}")
    if isinstance(error, ClosedError):
        return ClientClosed(text)
    return error


@contextmanager
def raised_as_there(collection_name: object = None) -> Iterator[None]:
    """Raise vecdb's errors of a block as those that stand for them."""
    try:
        yield
    except VecdbError as error:
        there = as_raised_there(error, collection_name)
        if there is error:
            raise
        raise there.with_traceback(error.__traceback__) from None

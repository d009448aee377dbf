"""Status: how an operation ends that has no answer, in the codes and words of Qdrant.

Programs look for these words, so they come first in a text; vecdb's own sentence follows.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from msgspec import Struct

from vecdb import errors
from vecdb.server.places import in_body


class Status(Struct, frozen=True):
    """How a call ended, in both protocols."""

    http: int
    grpc: str


WRONG = Status(400, "INVALID_ARGUMENT")
OUT_OF_RANGE = Status(422, "INVALID_ARGUMENT")
UNKNOWN_CALLER = Status(401, "UNAUTHENTICATED")
FORBIDDEN = Status(403, "PERMISSION_DENIED")
NOT_FOUND = Status(404, "NOT_FOUND")
NO_SUCH_METHOD = Status(405, "UNIMPLEMENTED")
NEEDS_CLUSTER = Status(405, "UNIMPLEMENTED")
TIMEOUT = Status(408, "DEADLINE_EXCEEDED")
EXISTS = Status(409, "ALREADY_EXISTS")
MISMATCH = Status(400, "DATA_LOSS")
INTERNAL = Status(500, "INTERNAL")
BUSY = Status(503, "UNAVAILABLE")
FULL = Status(507, "RESOURCE_EXHAUSTED")


class Refusal(Exception):
    """An operation that ends without an answer, and what the caller is told."""

    def __init__(self, status: Status, text: str) -> None:
        super().__init__(text)
        self.status = status
        self.text = text


def malformed(problem: str) -> Refusal:
    """A body that is JSON, and not of the form that was expected."""
    return Refusal(WRONG, f"Format error in JSON body: {problem}")


def out_of_range(problems: list[str], part: str = "JSON body") -> Refusal:
    """Values that are not in their ranges."""
    return Refusal(OUT_OF_RANGE, f"Validation error in {part}: [{'; '.join(problems)}]")


def not_supported(what: str) -> Refusal:
    """Something that Qdrant has and vecdb has not."""
    return Refusal(WRONG, f"Bad request: {what} is Qdrant's, and not supported by vecdb")


def no_collection(name: str) -> Refusal:
    """A collection that is not there."""
    return Refusal(NOT_FOUND, f"Not found: Collection `{name}` doesn't exist!")


def needs_cluster() -> Refusal:
    """An operation on several machines."""
    return Refusal(NEEDS_CLUSTER, "Qdrant is running in standalone mode")


_BY_ERROR: tuple[tuple[type[Exception], Status, str], ...] = (
    (errors.NotFoundError, NOT_FOUND, "Not found: "),
    (errors.AlreadyExistsError, EXISTS, "Wrong input: "),
    (errors.InvalidInputError, WRONG, "Wrong input: "),
    (errors.ReadOnlyError, FORBIDDEN, "Forbidden: "),
    (errors.StorageFullError, FULL, "Insufficient storage: "),
    (errors.NotBegunError, BUSY, "Service unavailable: "),
    (errors.ClosedError, NOT_FOUND, "Not found: "),  # deleted or replaced while it was used
    (Exception, INTERNAL, "Service internal error: "),
)

_WITHIN = re.compile(r"(?:searches|prefetch|operations)\[")
"""How a sentence begins about one request of several."""


def _place(found: re.Match[str]) -> str:
    """The whole sentence after Qdrant's words, where it says which of several requests is wrong."""
    return f"; {found.string}" if _WITHIN.match(found.string) else ""


_WORDS: tuple[tuple[re.Pattern[str], Callable[[re.Match[str]], str]], ...] = (
    (
        re.compile(r"collection '(.*)' already exists"),
        lambda found: f"Wrong input: Collection `{found[1]}` already exists!",
    ),
    (
        re.compile(r".*?(?:lookup_from|with_lookup): collection '(.*?)' not found"),
        lambda found: f"Not found: Collection {found[1]} not found{_place(found)}",
    ),
    (
        re.compile(r".*?collection '(.*?)' not found"),
        lambda found: f"Not found: Collection `{found[1]}` doesn't exist!; {found.string}",
    ),
    (
        re.compile(r".*expected a finite number for .*, got (.*)"),
        lambda found: (
            f"Wrong input: The expression {found[1]} produced a non-finite number; {found.string}"
        ),
    ),
    (
        re.compile(r".*expected a (\w+) at '(.*)' of point"),
        lambda found: (
            f"Wrong input: Expected {found[1]} value for {found[2]} in the payload and/or in the "
            f"formula defaults. Error: {found.string}"
        ),
    ),
    (
        re.compile(r".*expected (\d+) numbers, got (\d+)$"),
        lambda found: (
            f"Wrong input: Vector dimension error: expected dim: {found[1]}, got {found[2]}; "
            f"{found[0]}"
        ),
    ),
    (
        re.compile(r".*expected rows of (\d+) numbers, got an array of shape \(\d+, (\d+)\)$"),
        lambda found: (
            f"Wrong input: Vector dimension error: expected dim: {found[1]}, got {found[2]}; "
            f"{found[0]}"
        ),
    ),
    (
        re.compile(r".*unknown vector name '(.*?)'"),
        lambda found: f"Wrong input: Not existing vector name error: {found[1]}{_place(found)}",
    ),
    (
        re.compile(r".*a vector name is needed|.*there is no unnamed vector"),
        lambda found: f"Wrong input: Not existing vector name error: ; {found.string}",
    ),
    (
        re.compile(r"(?:.*: )?point (\S+) does not exist"),
        lambda found: f"Not found: No point with id {found[1]} found{_place(found)}",
    ),
    (
        re.compile(r".*point id: expected .*, got (?:the string )?'(.*)'"),
        lambda found: f'Wrong input: Can not recognize "{found[1]}" as point id; {found.string}',
    ),
    (
        re.compile(r".*expected rows of equal length"),
        lambda found: f"Wrong input: Vector dimension error: {found.string}",
    ),
    (
        re.compile(r".*expected exactly one of match, .* got none"),
        lambda found: (
            "Validation error in JSON body: [At least one field condition must be specified; "
            f"{found.string}]"
        ),
    ),
    (
        re.compile(r".*expected (?:as many indices as values|each index once), got"),
        lambda found: f"Validation error in JSON body: [{found.string}]",
    ),
    (
        re.compile(r".*expected other names for sparse vectors .*, got ('.*')"),
        lambda found: (
            "Wrong input: Dense and sparse vector names must be unique - duplicate found with "
            f"{found[1]}"
        ),
    ),
    (
        re.compile(r".*expected a name of a sparse vector, got an empty one"),
        lambda found: f"Wrong input: Sparse vector name cannot be empty; {found.string}",
    ),
    (
        re.compile(r"(.*sparse.*)datatype: expected one of (.*), got '(turbo4)'"),
        lambda found: f"Wrong input: sparse vectors do not support {found[3]}; {found.string}",
    ),
    (
        re.compile(r"query: expected what to make of the points that were prefetched, got None"),
        lambda found: (
            "Bad request: A query is needed to merge the prefetches. Can't have prefetches without "
            "defining a query."
        ),
    ),
    (
        re.compile(r"score_threshold: expected None without a query"),
        lambda found: (
            "Bad request: A query is needed to use the score_threshold. Can't have score_threshold "
            "without defining a query."
        ),
    ),
    (
        re.compile(r"score_threshold: expected None in an order"),
        lambda found: "Bad request: Can't use score_threshold with an order_by query.",
    ),
    (
        re.compile(r".*query\.recommend(?:\.positive)?: expected at least one example"),
        lambda found: f"Validation error in JSON body: [{found.string}]",
    ),
    (
        re.compile(r".*slice: expected an index below the total"),
        lambda found: f"Validation error in JSON body: [{found.string}]",
    ),
    (
        re.compile(r".*min_count: expected an integer >= 1"),
        lambda found: "Validation error in JSON body: [min_count must be greater than 0]",
    ),
)


def refusal_of(error: Exception, operation: str = "") -> Refusal:
    """What a caller of an operation is told of an error."""
    if isinstance(error, Refusal):
        return error
    text = in_body(str(error), operation)
    status, words = next(
        (status, words) for kind, status, words in _BY_ERROR if isinstance(error, kind)
    )
    if status is not INTERNAL:
        for pattern, worded in _WORDS:
            found = pattern.match(text)
            if found is not None:
                text = worded(found)
                if text.startswith("Validation error"):
                    status = OUT_OF_RANGE
                return Refusal(status, text)
    return Refusal(status, f"{words}{text}")

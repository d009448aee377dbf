"""Arguments that Qdrant's client takes and vecdb has no use for.

Code written for that client passes them along, mostly as None. None is what they are here anyway.
Another value is accepted if it changes nothing in one process, and refused if the answer would be
another.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any, NoReturn, TypedDict

from vecdb.errors import InvalidInputError

if TYPE_CHECKING:
    from typing_extensions import Unpack as Unpack
elif sys.version_info >= (3, 11):
    from typing import Unpack as Unpack
else:

    class Unpack:
        """What Python 3.10 has not: for annotations that are read at run time, where any value
        will do."""

        def __class_getitem__(cls, kind: type) -> Any:
            return Any


class OfPoints(TypedDict, total=False):
    """What verbs on the points of a collection take; which takes which is not looked at."""

    # Nothing depends on these where one process writes and reads see every write that returned.
    consistency: Any
    method: Any
    ordering: Any
    timeout: Any
    # These only without a value: None, or nothing in it.
    shard_key_selector: Any


class OfCollections(TypedDict, total=False):
    """What verbs on collections take."""

    # Nothing depends on these where a collection is in one place, which is a directory.
    api_key: Any
    grpc_grace: Any
    priority: Any
    replication_factor: Any
    shard_number: Any
    timeout: Any
    write_consistency_factor: Any
    # These only without a value.
    init_from: Any
    sharding_method: Any
    strict_mode_config: Any


class OfClient(TypedDict, total=False):
    """What the constructor takes."""

    # How to reach a server, and whether threads may share its connection. Here there is none.
    api_key: Any
    auth_token_provider: Any
    check_compatibility: Any
    force_disable_check_same_thread: Any
    grpc_options: Any
    grpc_port: Any
    headers: Any
    https: Any
    local_inference_batch_size: Any
    pool_size: Any
    port: Any
    prefer_grpc: Any
    prefix: Any
    timeout: Any
    # These only without a value.
    cloud_inference: Any
    host: Any
    url: Any


_NO_SERVER = "there is no server; path= is a directory, and without it the database is in memory"

_REFUSED = {
    "cloud_inference": "vectors are made by the caller",
    "host": _NO_SERVER,
    "init_from": "snapshots copy a collection",
    "shard_key_selector": "a collection is in one piece",
    "sharding_method": "a collection is in one piece",
    "strict_mode_config": "nothing is limited",
    "url": _NO_SERVER,
}


_MEANS_NOTHING: dict[str, Any] = {"cloud_inference": False, "sharding_method": "auto"}
"""Values that ask for what there is anyway."""


def check(verb: str, given: OfPoints | OfCollections | OfClient, kind: type = OfPoints) -> None:
    """Raise TypeError for an argument that no such verb takes, as Python does for any function, and
    InvalidInputError for a value that asks for something vecdb does not have."""
    for name, value in given.items():
        if name not in kind.__annotations__:
            raise TypeError(f"{verb}() got an unexpected keyword argument {name!r}")
        empty = value is None or (isinstance(value, (dict, list, tuple)) and not value)
        if name in _REFUSED and not empty and value != _MEANS_NOTHING.get(name):
            raise InvalidInputError(
                f"{name}: Qdrant's, not supported by vecdb: {_REFUSED[name]}; expected None, got "
                f"{value!r:.60}"
            )


def check_place(path: object, location: object) -> None:
    """Raise InvalidInputError for what names no directory, or two places at once."""
    if location is None:
        if isinstance(path, str) and "://" in path:  # it would become the directory "http:"
            refuse_address("path", path)
    elif location != ":memory:":
        raise InvalidInputError(
            f"location: expected ':memory:' or None, got {location!r:.60}; for Qdrant's client "
            f"anything else is a server's address. path= is a directory"
        )
    elif path not in (None, ":memory:"):
        raise InvalidInputError(f"path: expected None beside location=':memory:', got {path!r:.60}")


def refuse_address(name: str, given: str) -> NoReturn:
    """Raise InvalidInputError for an address where a directory was expected."""
    raise InvalidInputError(
        f"{name}: {_NO_SERVER}; expected the name of a directory or ':memory:', got {given!r:.60}"
    )

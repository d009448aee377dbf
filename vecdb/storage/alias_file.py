"""ALIASES: the other names of a database's collections, as lines of text with a checksum."""

from __future__ import annotations

import re
from collections.abc import Mapping

from vecdb.storage.format import VERSION, DamageError, checksum, require_version

MAX_ALIASES = 16384
"""Most aliases in a file."""

MAX_ALIAS_FILE = MAX_ALIASES * 1024 + 64
"""Longest file, in bytes: no name has more than 255 bytes, which are 510 digits."""

_HEAD = re.compile(rb"vecdb aliases format=([0-9]{1,9})\n")
_LINE = re.compile(rb"([0-9a-f]{2,510}) ([0-9a-f]{2,510})")
_CHECK = re.compile(rb"check=([0-9a-f]{16})\n")


def pack_aliases(aliases: Mapping[str, str]) -> bytes:
    """The file: a line for each alias, then the checksum of what stands before it. ``aliases``: the
    collection's name by alias."""
    lines = sorted(f"{_hex(alias)} {_hex(name)}\n" for alias, name in aliases.items())
    text = "".join([f"vecdb aliases format={VERSION}\n", *lines]).encode()
    return text + f"check={checksum(text):016x}\n".encode()


def unpack_aliases(data: bytes) -> dict[str, str]:
    """The aliases in a file. Raises DamageError; FormatVersionError for a newer version."""
    if len(data) > MAX_ALIAS_FILE:
        raise DamageError(f"more than {MAX_ALIAS_FILE} bytes, too long for a file of aliases")
    head = _HEAD.match(data)
    if head is None:
        raise DamageError("not a file of aliases")
    # The version comes first: a newer format may compute its checksum in another way.
    require_version(int(head[1]))
    text, mark, _ = data.rpartition(b"check=")
    check = _CHECK.fullmatch(data, len(text))
    if not mark or check is None or check[1] != f"{checksum(text):016x}".encode():
        raise DamageError("checksum of the aliases does not match")
    aliases = {}
    for line in text[head.end() :].splitlines():
        names = _LINE.fullmatch(line)
        if names is None:
            raise DamageError("a line of the aliases is not two names")
        try:
            alias, name = (bytes.fromhex(each.decode()).decode("utf-8") for each in names.groups())
        except ValueError:
            raise DamageError("a line of the aliases is not two names") from None
        aliases[alias] = name
    return aliases


def _hex(name: str) -> str:
    return name.encode("utf-8").hex()

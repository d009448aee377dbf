"""FORMAT: the one line that says whose a directory is, and in which format."""

from __future__ import annotations

import re
from typing import Any

from vecdb.storage.format import MAX_FORMAT_LINE, DamageError, checksum, require_version


def pack_format_line(fields: dict[str, Any]) -> bytes:
    """The FORMAT file: ``key=value`` words and a checksum, one line a person can read."""
    text = " ".join(f"{key}={value}" for key, value in fields.items())
    return f"vecdb {text} check={checksum(text.encode()):016x}\n".encode()


def unpack_format_line(data: bytes) -> dict[str, str]:
    """The fields of a FORMAT file. Raises DamageError; FormatVersionError for a newer version."""
    if len(data) > MAX_FORMAT_LINE:
        raise DamageError(f"more than {MAX_FORMAT_LINE} bytes, too long for a FORMAT file")
    try:
        line = data.decode("utf-8")
        text, check = line.removeprefix("vecdb ").rstrip("\n").rsplit(" check=", 1)
        fields = dict(word.split("=", 1) for word in text.split(" "))
        version = int(fields["format"])
    except (ValueError, KeyError):
        raise DamageError("not a vecdb FORMAT file") from None
    # The version comes first: a newer format may compute its checksum in another way.
    require_version(version)
    if not line.startswith("vecdb ") or check != f"{checksum(text.encode()):016x}":
        raise DamageError("FORMAT checksum does not match")
    if not re.fullmatch("[0-9a-f]{32}", fields.get("uuid", "")):
        raise DamageError("has no valid uuid")
    return fields

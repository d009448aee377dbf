"""Datetimes as Qdrant reads them: RFC 3339 and a few shorter spellings, UTC if unsaid."""

from __future__ import annotations

import re
from datetime import date, datetime, timedelta, timezone

_DATE = r"(\d{1,4})-(\d{1,2})-(\d{1,2})"
_TIME = r"(\d{1,2}):(\d{1,2})(?::(\d{1,2})(?:\.(\d+))?(\ ?[+-]\d{2}(?::?\d{2})?|\ ?[Zz]|\ UTC)?)?"
_PATTERN = re.compile(rf"\s*{_DATE}(?:[T ]{_TIME})?", re.ASCII)


def parse_datetime(text: str) -> datetime | None:
    """The moment ``text`` names, in its own offset or else UTC; None if it names none.

    A fraction finer than microseconds is cut, not rounded.
    """
    match = _PATTERN.fullmatch(text)
    if match is None:
        return None
    year, month, day, hour, minute, second, fraction, offset = match.groups()
    try:
        return datetime(
            int(year),
            int(month),
            int(day),
            int(hour or 0),
            int(minute or 0),
            int(second or 0),
            int(fraction[:6].ljust(6, "0")) if fraction else 0,
            _zone(offset),
        )
    except ValueError:  # the shape is right, the 30th of February is not
        return None


def _zone(offset: str | None) -> timezone:
    offset = (offset or "").strip()
    if offset in ("", "Z", "z", "UTC"):
        return timezone.utc
    minutes = int(offset[-2:]) if len(offset) > 3 else 0
    if minutes > 59:
        raise ValueError(offset)
    size = timedelta(hours=int(offset[1:3]), minutes=minutes)
    return timezone(-size if offset[0] == "-" else size)


def with_zone(moment: date) -> datetime:
    """A date or datetime as a moment: midnight if it has no time, UTC if it has no zone."""
    if not isinstance(moment, datetime):
        moment = datetime(moment.year, moment.month, moment.day)
    return moment if moment.tzinfo else moment.replace(tzinfo=timezone.utc)

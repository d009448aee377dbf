"""What vectors of every kind have: a name, and a type of their numbers."""

from __future__ import annotations

from enum import Enum
from typing import Annotated, Any

from vecdb.models.reading import By, Refused, refuse, show

MAX_NAME_BYTES = 200  # leaves room for a suffix in a 255-byte file name


def vector_name(value: Any) -> Any:
    """A vector name, checked. The unnamed vector's is empty."""
    if not isinstance(value, str):
        raise refuse("a vector name", value)
    if len(value.encode("utf-8", "surrogatepass")) > MAX_NAME_BYTES:
        raise Refused(
            f"expected a vector name of at most {MAX_NAME_BYTES} bytes, got {show(value)}"
        )
    return value


VectorName = Annotated[str, By(vector_name, "a vector name")]


class Datatype(str, Enum):
    """How originals of dense vectors are stored: ``float16`` in half the bytes, rounded to the
    nearest, at most 65504 in size; ``uint8`` in a quarter, without the fraction, from 0 to 255
    (what is beyond becomes one of these)."""

    FLOAT32 = "float32"
    FLOAT16 = "float16"
    UINT8 = "uint8"

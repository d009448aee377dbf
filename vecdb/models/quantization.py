"""Quantization: which codes vectors have beside the originals, and where they are kept."""

from __future__ import annotations

from enum import Enum
from typing import Annotated, Any

from msgspec import Meta

from vecdb.models.payload_schema import Memory
from vecdb.models.validation import Checked, read


class ScalarType(str, Enum):
    """The one kind of scalar codes."""

    INT8 = "int8"


class CompressionRatio(str, Enum):
    """How many times smaller than ``float32`` product codes are."""

    X4 = "x4"
    X8 = "x8"
    X16 = "x16"
    X32 = "x32"
    X64 = "x64"


class Disabled(str, Enum):
    """In an update: take the quantization away."""

    DISABLED = "Disabled"


class ScalarQuantizationConfig(Checked, frozen=True, kw_only=True):
    """How scalar codes are made, and where they are kept."""

    type: ScalarType
    quantile: Annotated[float, Meta(ge=0.5, le=1.0)] | None = None
    always_ram: bool | None = None
    memory: Memory | None = None


class ScalarQuantization(Checked, frozen=True, kw_only=True):
    """Codes of a byte for each dimension."""

    scalar: ScalarQuantizationConfig


class BinaryQuantizationEncoding(str, Enum):
    """Bits of a dimension."""

    ONE_BIT = "one_bit"
    TWO_BITS = "two_bits"
    ONE_AND_HALF_BITS = "one_and_half_bits"


class BinaryQuantizationQueryEncoding(str, Enum):
    """Accepted for compatibility: a query always has the most precise form, at no extra cost."""

    DEFAULT = "default"
    BINARY = "binary"
    SCALAR4BITS = "scalar4bits"
    SCALAR8BITS = "scalar8bits"


class BinaryQuantizationConfig(Checked, frozen=True, kw_only=True):
    """How binary codes are made, and where they are kept."""

    always_ram: bool | None = None
    memory: Memory | None = None
    encoding: BinaryQuantizationEncoding | None = None
    """None: one bit a dimension."""
    query_encoding: BinaryQuantizationQueryEncoding | None = None


class BinaryQuantization(Checked, frozen=True, kw_only=True):
    """Codes of one to two bits for each dimension."""

    binary: BinaryQuantizationConfig


class ProductQuantizationConfig(Checked, frozen=True, kw_only=True):
    """How product codes are made, and where they are kept."""

    compression: CompressionRatio
    always_ram: bool | None = None
    memory: Memory | None = None


class ProductQuantization(Checked, frozen=True, kw_only=True):
    """Codes that stand for some dimensions at once: the nearest of their frequent values."""

    product: ProductQuantizationConfig


class TurboQuantBitSize(str, Enum):
    """Bits of a dimension."""

    BITS1 = "bits1"
    BITS1_5 = "bits1_5"
    BITS2 = "bits2"
    BITS4 = "bits4"
    BITS8 = "bits8"


class TurboQuantQuantizationConfig(Checked, frozen=True, kw_only=True):
    """How many bits codes have, and where they are kept."""

    always_ram: bool | None = None
    memory: Memory | None = None
    bits: TurboQuantBitSize | None = None
    """None: four bits a dimension."""


class TurboQuantization(Checked, frozen=True, kw_only=True):
    """Qdrant's name for codes of the kind that binary quantization has here."""

    turbo: TurboQuantQuantizationConfig


QuantizationConfig = (
    ScalarQuantization | ProductQuantization | BinaryQuantization | TurboQuantization
)
QuantizationConfigDiff = (
    ScalarQuantization | ProductQuantization | BinaryQuantization | TurboQuantization | Disabled
)


def parse_quantization_config(
    value: Any, what: str = "quantization_config"
) -> QuantizationConfig | None:
    """For a new collection; None means no quantization."""
    config: QuantizationConfig | None = read(QuantizationConfig | None, value, what)
    return config


def parse_quantization_config_diff(
    value: Any, what: str = "quantization_config"
) -> QuantizationConfigDiff | None:
    """For an update; None means no change, ``Disabled`` takes quantization away."""
    config: QuantizationConfigDiff | None = read(QuantizationConfigDiff | None, value, what)
    return config

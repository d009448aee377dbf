"""What a collection's configuration means for each of its vector names.

Pure functions of ``CollectionConfig``: dimension and metric, the codec its codes should have, and
where originals and codes live. The rest of the engine never reads quantization models.
"""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from msgspec import Struct
from msgspec.structs import replace

from vecdb import models
from vecdb.errors import InvalidInputError
from vecdb.payload.columns import canonical
from vecdb.storage.arrays import Placement
from vecdb.storage.placements import Placements, VectorPlacements
from vecdb.storage.segment_row import SegmentRow
from vecdb.vectors.datatypes import (
    FLOAT32,
    SPARSE,
    UINT8,
    bytes_per_vector,
    is_multi,
    is_ragged,
    many_of,
    of_unit_length,
    size_of,
    wide,
)

Metric = Literal["dot", "euclid", "manhattan"]

_METRICS: dict[models.Distance, Metric] = {
    models.Distance.COSINE: "dot",  # of vectors that were normalised on the way in
    models.Distance.DOT: "dot",
    models.Distance.EUCLID: "euclid",
    models.Distance.MANHATTAN: "manhattan",
}


class VectorSchema(Struct, frozen=True):
    """One vector name of a collection. The unnamed vector has the name ''."""

    name: str
    dim: int  # SPARSE: it has none; below 0: of multivectors, see `vectors.datatypes`
    distance: models.Distance
    metric: Metric
    codec: dict[str, Any] | None  # what codes should be; None: no quantization
    originals: Placement | None  # what is said of each part; None: nothing, see ``placements_of``
    codes: Placement | None
    index: Placement | None
    idf: bool = False  # sparse: values of a query count by how rare their indices are
    datatype: str = FLOAT32  # dense: what originals are kept in

    @property
    def is_sparse(self) -> bool:
        """Whether vectors are sparse. Their scores are inner products."""
        return self.dim == SPARSE

    @property
    def is_multi(self) -> bool:
        """Whether vectors are multivectors."""
        return is_multi(self.dim)

    @property
    def is_ragged(self) -> bool:
        """Whether vectors are of unequal length: sparse, or multivectors."""
        return is_ragged(self.dim)

    @property
    def size(self) -> int:
        """How many numbers a dense vector has, or each vector of a multivector."""
        return size_of(self.dim)

    @property
    def normalize(self) -> bool:
        """Whether vectors are kept with length 1."""
        return self.distance is models.Distance.COSINE

    @property
    def on_disk(self) -> bool:
        """Whether vectors are said to be on disk, however few or many there are."""
        said = self.index if self.is_sparse else self.originals
        return said is not None and said != "pinned"

    @property
    def kind(self) -> str:
        """What its vectors are, in a few words."""
        if self.is_sparse:
            return "sparse with IDF" if self.idf else "sparse"
        many = "many " if self.is_multi else ""
        narrow = "" if self.datatype == FLOAT32 else f" {self.datatype}"
        return f"{many}{self.size}-d{narrow} {self.distance.value}"

    @property
    def is_normalized(self) -> bool:
        """Whether vectors are kept with length 1. Bytes cannot be."""
        return self.normalize and self.datatype != UINT8

    @property
    def of_originals(self) -> Metric | Literal["cosine"]:
        """The metric by which originals have the scores that ``metric`` is of."""
        return "cosine" if self.normalize and not self.is_normalized else self.metric

    def compared(self, originals: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
        """Originals, ``(n, dim)`` of any datatype, as ``metric`` compares them: float32, and under
        Cosine of length 1. They are the same array where they are that already."""
        vectors = wide(originals)
        return of_unit_length(vectors) if self.of_originals == "cosine" else vectors

    @property
    def bytes(self) -> int:
        """Of the original of one row; of what has no fixed size, what is usual."""
        return bytes_per_vector(self.dim, self.datatype)


Schema = dict[str, VectorSchema]
VectorsByName = dict[str, models.VectorParams | models.SparseVectorParams]


def dense_by_name(config: models.CollectionConfig) -> dict[str, models.VectorParams]:
    """The parameters of every dense vector; the unnamed one has the name ``""``. A copy."""
    vectors = config.params.vectors
    return {"": vectors} if isinstance(vectors, models.VectorParams) else dict(vectors)


def vectors_by_name(config: models.CollectionConfig) -> VectorsByName:
    """The parameters of every vector, of either kind. A copy."""
    return {**dense_by_name(config), **(config.params.sparse_vectors or {})}


def with_vectors(config: models.CollectionConfig, named: VectorsByName) -> models.CollectionConfig:
    """The configuration with these vectors, and no others. Raises InvalidInputError."""
    dense = {n: p for n, p in named.items() if isinstance(p, models.VectorParams)}
    sparse = {n: p for n, p in named.items() if isinstance(p, models.SparseVectorParams)}
    params = replace(
        config.params, vectors=models.parse_vectors_config(dense), sparse_vectors=sparse or None
    )
    return replace(config, params=params)


def schema_of(config: models.CollectionConfig) -> Schema:
    """Every vector name and what is wanted of it."""
    schema = {}
    for name, params in dense_by_name(config).items():
        multi = params.multivector_config is not None
        quantization = params.quantization_config or config.quantization_config
        hnsw = [params.hnsw_config, config.hnsw_config]
        schema[name] = VectorSchema(
            name=name,
            dim=many_of(params.size) if multi else params.size,
            distance=params.distance,
            metric=_METRICS[params.distance],
            codec=_codec(quantization),
            originals=_said(params.memory, params.on_disk),
            codes=_codes_said(quantization),
            index=next(filter(None, map(_index_said, hnsw)), None),
            datatype=FLOAT32 if params.datatype is None else params.datatype.value,
        )
    for name, sparse in (config.params.sparse_vectors or {}).items():
        schema[name] = VectorSchema(
            name=name,
            dim=SPARSE,
            distance=models.Distance.DOT,
            metric="dot",
            codec=None,
            originals=None,
            codes=None,
            index=_index_said(sparse.index),
            idf=sparse.modifier is models.Modifier.IDF,
        )
    return schema


def dims_of(schema: Schema) -> dict[str, int]:
    """The dimension of every vector name."""
    return {name: vector.dim for name, vector in schema.items()}


def datatypes_of(schema: Schema) -> dict[str, str]:
    """The datatype of every vector name whose originals are not float32."""
    return {n: vector.datatype for n, vector in schema.items() if vector.datatype != FLOAT32}


def dense_of(schema: Schema) -> Schema:
    """The vector names that are not sparse."""
    return {name: vector for name, vector in schema.items() if not vector.is_sparse}


_BITS = {
    None: 1.0,
    models.BinaryQuantizationEncoding.ONE_BIT: 1.0,
    models.BinaryQuantizationEncoding.ONE_AND_HALF_BITS: 1.5,
    models.BinaryQuantizationEncoding.TWO_BITS: 2.0,
}
_TURBO_BITS = {
    None: 4.0,
    models.TurboQuantBitSize.BITS1: 1.0,
    models.TurboQuantBitSize.BITS1_5: 1.5,
    models.TurboQuantBitSize.BITS2: 2.0,
    models.TurboQuantBitSize.BITS4: 4.0,
}

# What else takes one byte a dimension is done by scalar codes, which are searched faster.
_BYTES: dict[str, Any] = {"kind": "scalar", "quantile": None}


def _binary(bits: float) -> dict[str, Any]:
    return {"kind": "binary", "bits": bits, "layout": 2}


def _codec(config: models.QuantizationConfig | None) -> dict[str, Any] | None:
    """All that decides the bytes of codes, whatever their placement (which may change freely)."""
    match config:
        case models.ScalarQuantization(scalar=scalar):
            return {
                "kind": "scalar",
                "quantile": None if scalar.quantile == 1.0 else scalar.quantile,
            }
        case models.BinaryQuantization(binary=binary):
            return _binary(_BITS[binary.encoding])
        case models.TurboQuantization(turbo=turbo):
            return (
                _BYTES
                if turbo.bits is models.TurboQuantBitSize.BITS8
                else _binary(_TURBO_BITS[turbo.bits])
            )
        case models.ProductQuantization(product=product):
            compression = int(product.compression.value[1:])
            if compression == 4:
                return _BYTES
            return {"kind": "product", "compression": compression, "layout": 2}
    return None


def vector_kilobytes(rows: int, vector: VectorSchema) -> int:
    """The unit of every threshold: 1 KB is one 256-d float32 vector."""
    return rows * vector.bytes // 1024


def row_bytes(schema: Schema) -> int:
    """Bytes of the vectors of one row, as the log has them."""
    return sum(bytes_per_vector(vector.dim) for vector in schema.values())


def _said(memory: models.Memory | None, on_disk: bool | None) -> Placement | None:
    """The placement that is said by ``memory``, or else by the older ``on_disk``."""
    if memory is not None:
        return memory.value
    return None if on_disk is None else "cold" if on_disk else "pinned"


def _index_said(params: Any) -> Placement | None:
    """The placement that parameters of an index say. Of a dense one only ``on_disk=True`` counts:
    False is what programs say that say nothing."""
    if params is None:
        return None
    sparse = isinstance(params, models.SparseIndexParams)
    return _said(params.memory, params.on_disk if sparse else params.on_disk or None)


def _codes_said(config: models.QuantizationConfig | None) -> Placement | None:
    """The placement that a quantization says of its codes."""
    match config:
        case (
            models.ScalarQuantization(scalar=said)
            | models.BinaryQuantization(binary=said)
            | models.TurboQuantization(turbo=said)
            | models.ProductQuantization(product=said)
        ):
            if said.memory is None and said.always_ram is not None:
                return "pinned" if said.always_ram else "cached"
            return _said(said.memory, None)
    return None


def placements_of(
    row: SegmentRow, schema: Schema, config: models.CollectionConfig, *, in_memory: bool = False
) -> Placements:
    """The placements of all parts of a segment. ``in_memory``: its files are there."""
    optimizer = config.optimizer_config
    vectors = {name: _of_vector(schema[name], row.rows, optimizer) for name in row.vectors}
    if in_memory:
        vectors = {name: _placed_once(schema[name], each) for name, each in vectors.items()}
    params = config.params
    payload, id_tracker = params.payload, params.id_tracker
    return Placements(
        vectors,
        ids=_said(None if id_tracker is None else id_tracker.memory, None) or "cached",
        payload=_said(None if payload is None else payload.memory, params.on_disk_payload or None)
        or "cached",
        columns=_of_columns(config),
    )


def _of_vector(
    vector: VectorSchema, rows: int, optimizer: models.OptimizersConfig
) -> VectorPlacements:
    """The placements of a vector's parts in a segment of ``rows`` rows."""
    threshold = optimizer.memmap_threshold
    mapped = bool(threshold) and vector_kilobytes(rows, vector) >= (threshold or 0)
    if vector.is_sparse:
        index = vector.index or ("cached" if mapped else "pinned")
        return VectorPlacements("cold" if index == "cold" else "cached", "cached", index)
    originals = vector.originals or ("cold" if mapped else "pinned")
    # Beside originals that are pinned nearly no search reads codes; beside others every one does,
    # as it reads sketches: they stay in the page cache then, which is as good.
    codes = vector.codes or "cached"
    index = vector.index or ("pinned" if "pinned" in (originals, codes) else "cached")
    return VectorPlacements(originals, codes, index)


def _placed_once(vector: VectorSchema, wanted: VectorPlacements) -> VectorPlacements:
    """The placements in a database whose files are in memory: what is loaded from them is there
    twice. Only sketches, which are small and searched faster in large pages, and codes that are
    said to be in RAM are worth that."""
    codes = wanted.codes if vector.codes == "pinned" else "cached"
    return VectorPlacements("cached", codes, wanted.index)


def _of_columns(config: models.CollectionConfig) -> dict[str, Placement]:
    """The placements of the columns of fields, as far as any is said."""
    found = {}
    for path, schema in (config.payload_schema or {}).items():
        if not isinstance(schema, models.PayloadSchemaType):
            said = _said(schema.memory, schema.on_disk or None)
            if said is not None:
                found[canonical(path)] = said
    return found


def vector_schema(schema: Schema, name: str, where: str = "this collection") -> VectorSchema:
    """The schema of a vector name ``where`` it is asked for. Raises InvalidInputError with the
    names there are."""
    if name in schema:
        return schema[name]
    if not schema:
        wanted = f"unknown vector name {name!r}" if name else "there is no unnamed vector"
        raise InvalidInputError(f"{wanted}; {where} has no vectors")
    known = ", ".join(repr(n) for n in schema if n) or "one unnamed vector"
    if name:
        raise InvalidInputError(f"unknown vector name {name!r}; {where} has {known}")
    raise InvalidInputError(f"a vector name is needed; {where} has {known}")

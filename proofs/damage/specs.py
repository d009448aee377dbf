"""The collections that are damaged: what each is created with, and the steps that fill it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from proofs.model.sparse import PLACES

Step = tuple[Any, ...]

MANUAL = {"max_optimization_threads": 0, "indexing_threshold": 1, "default_segment_number": 8}
SCALAR = {"scalar": {"type": "int8", "always_ram": False}}
QUANTILE = {"scalar": {"type": "int8", "quantile": 0.9}}
BINARY = {"binary": {"always_ram": True}}
PRODUCT = {"product": {"compression": "x16", "always_ram": False}}


@dataclass(frozen=True)
class Spec:
    """One collection: what it is created with, and the steps that fill it."""

    vectors: dict[str, tuple[int, str]]
    """Name to dimension and distance."""
    create: dict[str, Any]
    rebuild: dict[str, Any]
    """A change of the configuration after which every segment has to be written anew."""
    mapped: tuple[str, ...] = ()
    """Files, beside payload and seqs, that are mapped and verified only when they are used."""
    wide: bool = False
    """Every third id is a UUID."""
    text: int = 12
    """Characters of the longest value of a payload."""
    first: list[Step] = field(default_factory=list)
    second: list[Step] = field(default_factory=list)
    third: list[Step] = field(default_factory=list)
    """Until ``halfway`` is copied."""
    fourth: list[Step] = field(default_factory=list)
    """Until the process is killed."""


def _vector(dim: int, distance: str, **more: Any) -> dict[str, Any]:
    return {"size": dim, "distance": distance, **more}


_WRITES: dict[str, Any] = {
    "first": [
        ("upsert", 0, 26),
        ("flush",),
        ("upsert", 22, 20),
        ("delete", [3, 4, 21]),
        ("flush",),
        ("optimize",),
        ("delete", [1]),
        ("flush",),
    ],
    "second": [("upsert", 40, 17), ("set", [2, 43]), ("flush",), ("optimize",)],
    "third": [("upsert", 60, 5), ("delete", [2, 42])],
    "fourth": [("set", [61, 9]), ("upsert", 10, 3), ("upsert", 70, 2)],
}

_FEWER_SEGMENTS: dict[str, Any] = {
    **_WRITES,
    "first": [
        ("upsert", 0, 26),
        ("delete", [3, 4]),
        ("upsert", 22, 20),
        ("flush",),
        ("optimize",),
        ("delete", [1]),
        ("flush",),
    ],
}

# Rows and dimensions are small, so that every byte of nearly every file can be damaged.
COLLECTIONS: dict[str, Spec] = {
    # No codes; everything in anonymous memory. The last step of ``closed`` is a commit that
    # moves nothing but the configuration; the process is killed in a checkpoint, between the
    # commit and the removal of the log that it made unnecessary.
    "plain": Spec(
        {"": (8, "Cosine")},
        {"vectors_config": _vector(8, "Cosine")},
        rebuild={"quantization_config": QUANTILE, "optimizers_config": {"memmap_threshold": 1}},
        wide=True,
        **{
            **_WRITES,
            "second": [
                *_WRITES["second"],
                ("copy", "eve"),
                ("configure", {"deleted_threshold": 0.7}),
            ],
            "fourth": [*_WRITES["fourth"], ("die in a checkpoint",)],
        },
    ),
    # Everything mapped, originals and codes. Segments of ``older`` have been merged.
    "scalar": Spec(
        {"": (16, "Euclid")},
        {
            "vectors_config": _vector(16, "Euclid", on_disk=True),
            "quantization_config": SCALAR,
        },
        mapped=("vectors", "codes", "column.place"),
        rebuild={"quantization_config": QUANTILE},
        **{
            **_WRITES,
            "second": [
                ("upsert", 40, 17),
                ("flush",),
                ("index", "place", "integer"),
                ("configure", {"default_segment_number": 1}),
                ("optimize",),
                ("upsert", 80, 16),
                ("flush",),
                ("optimize",),
                ("delete", [80]),
                ("flush",),
            ],
        },
    ),
    # Mapped originals, codes in anonymous memory.
    "binary": Spec(
        {"": (70, "Dot")},
        {
            "vectors_config": _vector(70, "Dot", on_disk=True),
            "quantization_config": BINARY,
        },
        mapped=("vectors",),
        rebuild={"quantization_config": QUANTILE},
        wide=True,
        **_FEWER_SEGMENTS,
    ),
    # Named vectors, which not every point has; originals in anonymous memory, mapped codes.
    # Two WAL files have to be replayed: the checkpoint between them failed.
    "named": Spec(
        {"a": (16, "Cosine"), "b": (8, "Manhattan"), "c/Ü": (6, "Dot")},
        {
            "vectors_config": {
                "a": _vector(16, "Cosine", quantization_config=QUANTILE),
                "b": _vector(8, "Manhattan", quantization_config=PRODUCT),
                "c/Ü": _vector(6, "Dot"),
            },
        },
        mapped=("codes.b",),
        rebuild={"vectors_config": {"a": {"quantization_config": BINARY}}},
        **{
            **_FEWER_SEGMENTS,
            "third": [*_WRITES["third"], ("fail to flush",), ("drop", [6, 7], ["a", "c/Ü"])],
        },
    ),
    # Indexes: of the name that the rows are in order of, and of one that has its own order; some
    # points have no vector of a name. The other segment is too small for one. One is of float16.
    "indexed": Spec(
        {"a": (64, "float16 Euclid"), "b": (32, "Dot")},
        {
            "vectors_config": {
                "a": _vector(
                    *(64, "Euclid"), datatype="float16", on_disk=True, quantization_config=SCALAR
                ),
                "b": _vector(32, "Dot"),
            },
        },
        mapped=("vectors.a", "codes.a", "sketch.a"),
        rebuild={"vectors_config": {"a": {"quantization_config": BINARY}}},
        **{
            **_WRITES,
            "first": [
                ("upsert", 0, 640),
                ("delete", [3, 4, 21]),
                ("flush",),
                ("optimize",),
                ("delete", [1]),
                ("flush",),
            ],
            "second": [("upsert", 640, 9), ("set", [2, 43]), ("flush",), ("optimize",)],
        },
    ),
    # Sparse vectors, which not every point has, with an inverted index in one of the segments.
    "sparse": Spec(
        {"a": (8, "Dot"), "s": (PLACES, "Idf")},
        {
            "vectors_config": {"a": _vector(8, "Dot")},
            "sparse_vectors_config": {"s": {"modifier": "idf", "index": {"on_disk": True}}},
        },
        mapped=("postings.s", "sparse-indices.s", "sparse-values.s"),
        rebuild={"quantization_config": QUANTILE},
        **{
            **_WRITES,
            "first": [("upsert", 0, 320), ("delete", [3, 4]), ("flush",), ("delete", [1])],
            "second": [("upsert", 320, 9), ("set", [2, 43]), ("flush",)],
        },
    ),
    # Multivectors, which not every point has.
    "multi": Spec(
        {"a": (8, "Dot"), "m": (6, "Many Cosine")},
        {
            "vectors_config": {
                "a": _vector(8, "Dot"),
                "m": _vector(
                    6, "Cosine", on_disk=True, multivector_config={"comparator": "max_sim"}
                ),
            }
        },
        mapped=("tokens.m",),
        rebuild={"quantization_config": QUANTILE},
        **{
            **_WRITES,
            "first": [("upsert", 0, 320), ("delete", [3, 4]), ("flush",), ("delete", [1])],
            "second": [("upsert", 320, 9), ("set", [2, 43]), ("flush",)],
        },
    ),
    # Codes of tokens, with an index and without one, of which nothing is read from RAM.
    "many-codes": Spec(
        {"m": (6, "Many Dot"), "k": (5, "Many Euclid")},
        {
            "vectors_config": {
                name: _vector(
                    *(size, distance),
                    on_disk=True,
                    multivector_config={"comparator": "max_sim"},
                    quantization_config=codes,
                )
                for name, size, distance, codes in (
                    ("m", 6, "Dot", SCALAR),
                    ("k", 5, "Euclid", PRODUCT),
                )
            }
        },
        mapped=("tokens.m", "tokens.k", "codes.m", "codes.k"),
        rebuild={"vectors_config": {"m": {"quantization_config": QUANTILE}}},
        **_WRITES,
    ),
    # No vectors. Nothing asks for other codes here: all segments become one.
    "payloads": Spec(
        {},
        {},
        rebuild={
            "optimizers_config": {
                "default_segment_number": 1,
                "vacuum_min_vector_number": 1,
                "deleted_threshold": 0.0,
            }
        },
        mapped=("column.place", "column.text"),
        wide=True,
        **{
            **_WRITES,
            "first": [("index", "place", "integer"), *_WRITES["first"]],
            "second": [*_WRITES["second"], ("index", "text", "keyword")],
        },
    ),
    # Files of several blocks, one segment, everything mapped.
    "large": Spec(
        {"": (400, "Euclid")},
        {
            "vectors_config": _vector(400, "Euclid", on_disk=True),
            "quantization_config": SCALAR,
        },
        mapped=("vectors", "codes"),
        rebuild={"quantization_config": QUANTILE},
        text=1000,
        first=[("upsert", 0, 170), ("flush",), ("optimize",)],
        second=[("set", [n for n in range(170) if n % 4]), ("delete", [5, 6, 7]), ("flush",)],
        third=[("upsert", 5, 1)],
        fourth=[("set", [5])],
    ),
}
ORDER = [
    "scalar",
    "binary",
    "named",
    "indexed",
    "sparse",
    "multi",
    "many-codes",
    "payloads",
    "large",
    "plain",
]
"""``plain`` is last: the process dies in it."""

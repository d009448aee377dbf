"""The door: three forms in, one validated struct out; refusals say what and where."""

from __future__ import annotations

import inspect
import json
import math
import subprocess
import sys
from datetime import date, datetime, timedelta, timezone
from enum import Enum
from typing import Any
from uuid import UUID

import msgspec
import numpy as np
import pytest
from qdrant_client.http.models import models as theirs

from vecdb import models as m
from vecdb.errors import InvalidInputError
from vecdb.models import coerce, to_builtins, to_json
from vecdb.models.reading import _QDRANT_ONLY, Model, converter, known_fields
from vecdb.models.validation import Checked

UUID_TEXT = "6f9619ff-8b86-d011-b42d-00c04fc964ff"
MATCH = {"key": "a", "match": {"value": 1}}
PLACE = {"lon": 13.4, "lat": -52.5}
RING = {"points": [{"lon": float(n % 3), "lat": 0.0} for n in range(4)]}

PAIR = {"positive": 1, "negative": [0.5, 1.0]}
# Type name -> its JSON. Each is read as a dict, as our struct and as Qdrant's object, and must
# come back as the same JSON.
SHAPES: list[tuple[str, Any]] = [
    ("VectorParams", {"size": 4, "distance": "Cosine"}),
    (
        "VectorParams",
        {
            "size": 65536,
            "distance": "Manhattan",
            "hnsw_config": {"m": 8},
            "quantization_config": {"binary": {"always_ram": True}},
            "on_disk": True,
            "datatype": "float32",
        },
    ),
    ("ScalarQuantizationConfig", {"type": "int8", "quantile": 0.99, "always_ram": True}),
    ("ScalarQuantization", {"scalar": {"type": "int8"}}),
    ("BinaryQuantizationConfig", {"always_ram": False}),
    ("BinaryQuantizationConfig", {"encoding": "two_bits", "query_encoding": "scalar8bits"}),
    ("BinaryQuantizationConfig", {"encoding": "one_and_half_bits", "query_encoding": "default"}),
    ("TurboQuantQuantizationConfig", {"bits": "bits1_5", "always_ram": True}),
    ("TurboQuantization", {"turbo": {"bits": "bits2"}}),
    ("BinaryQuantization", {"binary": {}}),
    ("ProductQuantizationConfig", {"compression": "x64"}),
    ("ProductQuantization", {"product": {"compression": "x4", "always_ram": True}}),
    ("OptimizersConfigDiff", {"deleted_threshold": 0.5, "memmap_threshold": 20000}),
    ("HnswConfigDiff", {"m": 16, "ef_construct": 100, "payload_m": 4, "on_disk": False}),
    ("WalConfigDiff", {"wal_capacity_mb": 32, "wal_segments_ahead": 0}),
    ("QuantizationSearchParams", {"ignore": True, "rescore": False, "oversampling": 2.5}),
    (
        "SearchParams",
        {
            "hnsw_ef": 64,
            "exact": True,
            "quantization": {"ignore": False, "oversampling": 1.0},
            "indexed_only": True,
            "recall": 0.98,
        },
    ),
    ("PointStruct", {"id": 7, "vector": [1.0, 2.0], "payload": {"a": None, "b": [1]}}),
    ("PointStruct", {"id": UUID_TEXT, "vector": {"text": [1.0]}}),
    ("PointVectors", {"id": 2**64 - 1, "vector": [0.5]}),
    ("Batch", {"ids": [1, 2], "vectors": [[1.0], [2.0]], "payloads": [{}, {"a": 1}]}),
    ("AcornSearchParams", {"enable": True, "max_selectivity": 0.4}),
    ("InitFrom", {"collection": "c"}),
    ("DenseVectorConfig", {"size": 4, "distance": "Dot", "datatype": "float32"}),
    ("DenseVectorNameConfig", {"dense": {"size": 4, "distance": "Cosine"}}),
    ("CollectionParamsDiff", {"replication_factor": 2, "payload": {"memory": "cold"}}),
    ("PayloadStorageParams", {"memory": "cached"}),
    ("IdTrackerParams", {"memory": "pinned"}),
    ("PointsList", {"points": [{"id": 1, "vector": [1.0]}], "update_mode": "insert_only"}),
    (
        "PointsBatch",
        {"batch": {"ids": [1], "vectors": [[1.0]]}, "update_filter": {"must": [MATCH]}},
    ),
    ("SetPayload", {"payload": {"a": None}, "points": [1], "key": "b"}),
    ("SetPayload", {"payload": {"a": 1}, "filter": {"must": [MATCH]}}),
    ("DeletePayload", {"keys": ["a"], "points": [1, UUID_TEXT]}),
    ("DeleteVectors", {"vector": ["text"], "filter": {"must": [MATCH]}}),
    ("UpdateVectors", {"points": [{"id": 1, "vector": [1.0]}], "update_filter": {"must": [MATCH]}}),
    ("UpsertOperation", {"upsert": {"points": [{"id": 1, "vector": [1.0]}]}}),
    ("DeleteOperation", {"delete": {"points": [1]}}),
    ("SetPayloadOperation", {"set_payload": {"payload": {}, "points": [1]}}),
    ("OverwritePayloadOperation", {"overwrite_payload": {"payload": {}, "points": [1]}}),
    ("DeletePayloadOperation", {"delete_payload": {"keys": ["a"], "points": [1]}}),
    ("ClearPayloadOperation", {"clear_payload": {"filter": {"must": [MATCH]}}}),
    ("UpdateVectorsOperation", {"update_vectors": {"points": [{"id": 1, "vector": [1.0]}]}}),
    ("DeleteVectorsOperation", {"delete_vectors": {"vector": ["text"], "points": [1]}}),
    ("Record", {"id": 1, "payload": {"a": 1}, "vector": [1.0]}),
    ("ScoredPoint", {"id": 1, "version": 3, "score": 0.5}),
    ("UpdateResult", {"operation_id": 4, "status": "completed"}),
    ("CountResult", {"count": 3}),
    ("PayloadSelectorInclude", {"include": ["a", "b.c"]}),
    ("PayloadSelectorExclude", {"exclude": ["a"]}),
    ("PointIdsList", {"points": [1, UUID_TEXT]}),
    ("FilterSelector", {"filter": {"must": [MATCH]}}),
    ("CollectionDescription", {"name": "c"}),
    ("CollectionsResponse", {"collections": [{"name": "c"}]}),
    ("Filter", {}),
    ("Filter", {"must": MATCH, "should": [MATCH], "must_not": [{"must": [MATCH]}]}),
    ("Filter", {"min_should": {"conditions": [MATCH, {"has_id": [1]}], "min_count": 1}}),
    ("Filter", {"must": [{"is_empty": {"key": "a"}}, {"is_null": {"key": "b"}}]}),
    ("Filter", {"must": [{"has_vector": "text"}]}),
    ("Filter", {"must": [{"nested": {"key": "a", "filter": {"must_not": MATCH}}}]}),
    ("MinShould", {"conditions": [], "min_count": 2}),
    ("FieldCondition", {"key": "a", "match": {"value": True}}),
    ("FieldCondition", {"key": "a", "match": {"any": ["x", "y"]}}),
    ("FieldCondition", {"key": "a", "match": {"except": [1, 2]}}),
    ("FieldCondition", {"key": "a", "range": {"gte": 1.5, "lt": 2.0}}),
    ("FieldCondition", {"key": "a", "range": {"gt": "2024-01-02T03:04:05+00:00"}}),
    ("FieldCondition", {"key": "a", "match": {"text": "some words"}}),
    ("FieldCondition", {"key": "a", "match": {"text_any": "some words"}}),
    ("FieldCondition", {"key": "a", "match": {"phrase": "some words"}}),
    ("FieldCondition", {"key": "a", "match": {"prefix": "so"}}),
    ("FieldCondition", {"key": "a", "match": {"substring": ""}}),
    (
        "FieldCondition",
        {"key": "a", "geo_bounding_box": {"top_left": PLACE, "bottom_right": PLACE}},
    ),
    ("FieldCondition", {"key": "a", "geo_radius": {"center": PLACE, "radius": 1.5}}),
    ("FieldCondition", {"key": "a", "geo_polygon": {"exterior": RING, "interiors": [RING]}}),
    ("FieldCondition", {"key": "a", "values_count": {"gt": 1, "lte": 3}}),
    ("FieldCondition", {"key": "a", "is_empty": True}),
    ("FieldCondition", {"key": "a", "is_null": False}),
    ("MatchValue", {"value": "x"}),
    ("MatchAny", {"any": [1, 2]}),
    ("MatchExcept", {"except": ["x"]}),
    ("Range", {"lt": 3.0, "gt": 1.0, "gte": 1.0, "lte": 4.0}),
    ("DatetimeRange", {"lt": "2024-01-02T03:04:05.000006+00:00"}),
    ("ValuesCount", {"gte": 1}),
    ("PayloadField", {"key": "a"}),
    ("IsEmptyCondition", {"is_empty": {"key": "a"}}),
    ("IsNullCondition", {"is_null": {"key": "a"}}),
    ("HasIdCondition", {"has_id": [1, UUID_TEXT]}),
    ("HasVectorCondition", {"has_vector": ""}),
    ("MatchText", {"text": ""}),
    ("MatchTextAny", {"text_any": "x"}),
    ("MatchPhrase", {"phrase": "x"}),
    ("MatchPrefix", {"prefix": "x"}),
    ("MatchSubstring", {"substring": "x"}),
    ("GeoPoint", PLACE),
    ("GeoBoundingBox", {"top_left": PLACE, "bottom_right": PLACE}),
    ("GeoRadius", {"center": PLACE, "radius": 0.0}),
    ("GeoLineString", RING),
    ("GeoPolygon", {"exterior": RING}),
    ("Slice", {"total": 3, "index": 2}),
    ("SliceCondition", {"slice": {"total": 1, "index": 0}}),
    ("Nested", {"key": "a", "filter": {"must": [MATCH]}}),
    ("NestedCondition", {"nested": {"key": "a[]", "filter": {"must": [MATCH]}}}),
    ("Mmr", {"diversity": 0.2, "candidates_limit": 30}),
    ("OrderBy", {"key": "a.b[]", "direction": "desc", "start_from": 2.5}),
    ("OrderBy", {"key": "when", "start_from": "2024-05-31T00:00:00+00:00"}),
    ("OrderByQuery", {"order_by": "a"}),
    ("OrderByQuery", {"order_by": {"key": "a", "direction": "asc", "start_from": 3}}),
    ("SampleQuery", {"sample": "random"}),
    ("WithLookup", {"collection": "c", "with_payload": ["a"], "with_vectors": True}),
    ("PointGroup", {"hits": [{"id": 1, "version": 2, "score": 0.5}], "id": "a"}),
    ("GroupsResult", {"groups": [{"hits": [], "id": 3, "lookup": {"id": 3}}]}),
    ("FacetValueHit", {"value": True, "count": 2}),
    ("FacetResponse", {"hits": [{"value": "a", "count": 2}, {"value": 1, "count": 1}]}),
    ("NearestQuery", {"nearest": [1.0], "mmr": {"diversity": 1.0}}),
    (
        "QueryRequest",
        {
            "query": [1.0],
            "using": "text",
            "filter": {"must": [MATCH]},
            "params": {"exact": True, "indexed_only": False},
            "limit": 5,
            "offset": 1,
            "with_payload": {"include": ["a"]},
            "with_vector": ["text"],
            "score_threshold": 0.5,
        },
    ),
    ("OptimizersConfig", {"deleted_threshold": 0.1, "default_segment_number": 2}),
    ("HnswConfig", {"m": 1, "ef_construct": 9, "full_scan_threshold": 7}),
    ("WalConfig", {"wal_capacity_mb": 1, "wal_segments_ahead": 3}),
    (
        "CollectionParams",
        {"vectors": {"a": {"size": 2, "distance": "Dot"}}, "on_disk_payload": True},
    ),
    # Ours alone, or no longer in qdrant_client:
    ("IdfCorpusParams", {"corpus": {"must": [{"key": "a", "match": {"value": 1}}]}}),
    ("SparseVector", {"indices": [3, 1], "values": [0.5, -1.0]}),
    ("NamedSparseVector", {"name": "text", "vector": {"indices": [3], "values": [0.5]}}),
    ("SparseIndexParams", {"on_disk": True, "full_scan_threshold": 3, "datatype": "float16"}),
    ("SparseVectorParams", {"index": {"memory": "cold"}, "modifier": "idf"}),
    ("SparseVectorConfig", {"modifier": "none", "datatype": "uint8"}),
    ("SparseVectorNameConfig", {"sparse": {"modifier": "idf"}}),
    (
        "Bm25Config",
        {"k": 1.5, "b": 0.5, "avg_len": 20.0, "language": "german", "tokenizer": "code"},
    ),
    (
        "Bm25Config",
        {"stopwords": {"custom": ["a"]}, "stemmer": {"type": "none"}, "lowercase": False},
    ),
    ("Document", {"text": "a b", "model": "qdrant/bm25", "options": {"k": 2.0}}),
    ("NamedVector", {"name": "text", "vector": [1.0]}),
    ("SearchRequest", {"vector": [1.0], "limit": 3, "with_payload": ["a"]}),
    ("SearchRequest", {"vector": {"name": "text", "vector": [1.0]}, "limit": 3}),
    ("OptimizersStatusError", {"error": "no space"}),
    ("CollectionWarning", {"message": "slow"}),
    (
        "VectorParamsDiff",
        {"on_disk": True, "quantization_config": "Disabled", "hnsw_config": {"m": 8}},
    ),
    ("VectorParamsDiff", {"quantization_config": {"binary": {}}}),
    (
        "OptimizerProgress",
        {"running": "merge", "rows_done": 1, "rows_total": 3, "pending": "vacuum", "completed": 2},
    ),
    ("SegmentVectors", {"bytes": 3, "placement": "cold"}),
    ("SearchEffort", {"recall": 0.9, "rows": 100, "candidates": 20, "survivors": 0}),
    (
        "IndexInfo",
        {
            "partitions": 10,
            "sketch_bytes": 4096,
            "bytes_per_vector": 52.5,
            "placement": "cold",
            "efforts": [{"recall": 1.0, "rows": 100, "candidates": 20, "survivors": 10}],
        },
    ),
    ("SearchStage", {"by": "sketches", "rows": 100, "kept": 20, "reason": "3 of 10 partitions"}),
    ("SegmentSearch", {"id": "s1", "kind": "file", "points": 3, "stages": []}),
    (
        "SegmentInfo",
        {
            "id": "s1",
            "kind": "memory",
            "points": 3,
            "deleted": 1,
            "vectors": {"": {"bytes": 3, "placement": "pinned"}},
        },
    ),
    ("QueryResponse", {"points": [{"id": 1, "version": 3, "score": 0.5}]}),
    (
        "CollectionConfig",
        {
            "params": {"vectors": {"size": 4, "distance": "Dot"}},
            "quantization_config": {"product": {"compression": "x16"}},
        },
    ),
    (
        "SnapshotDescription",
        {
            "name": "c-000001-2026-01-02-03-04-05.snapshot",
            "creation_time": "2026-01-02T03:04:05",
            "size": 10240,
            "checksum": "0" * 64,
        },
    ),
    ("CreateAlias", {"collection_name": "c", "alias_name": "a"}),
    ("DeleteAlias", {"alias_name": "a"}),
    ("RenameAlias", {"old_alias_name": "a", "new_alias_name": "b"}),
    ("CreateAliasOperation", {"create_alias": {"collection_name": "c", "alias_name": "a"}}),
    ("DeleteAliasOperation", {"delete_alias": {"alias_name": "a"}}),
    ("RenameAliasOperation", {"rename_alias": {"old_alias_name": "a", "new_alias_name": "b"}}),
    ("AliasDescription", {"alias_name": "a", "collection_name": "c"}),
    ("CollectionsAliasesResponse", {"aliases": [{"alias_name": "a", "collection_name": "c"}]}),
    ("VersionInfo", {"title": "vecdb", "version": "1.0", "commit": "abc"}),
    ("KeywordIndexParams", {"type": "keyword", "is_tenant": True, "on_disk": False}),
    ("IntegerIndexParams", {"type": "integer", "lookup": True, "range": False}),
    ("FloatIndexParams", {"type": "float", "is_principal": True}),
    ("GeoIndexParams", {"type": "geo", "memory": "pinned"}),
    ("BoolIndexParams", {"type": "bool", "enable_hnsw": False}),
    ("DatetimeIndexParams", {"type": "datetime", "is_principal": True}),
    ("UuidIndexParams", {"type": "uuid", "is_tenant": False}),
    (
        "TextIndexParams",
        {
            "type": "text",
            "tokenizer": "word",
            "min_token_len": 2,
            "max_token_len": 20,
            "lowercase": True,
            "stopwords": {"languages": ["english"], "custom": ["x"]},
            "stemmer": {"type": "snowball", "language": "english"},
            "scoring": {"type": "bm25"},
        },
    ),
    ("TextIndexParams", {"type": "text", "stopwords": "german", "stemmer": {"type": "none"}}),
    ("SnowballParams", {"type": "snowball", "language": "french"}),
    ("DisabledStemmerParams", {"type": "none"}),
    ("StopwordsSet", {"custom": ["a"]}),
    ("TextScoringParams", {"type": "bm25"}),
    ("Bm25Params", {"k": 1.5, "b": 0.5}),
    ("Bm25Scoring", {"bm25": {"k": 1.5}}),
    ("TextQueryInput", {"query": "a word", "scoring": {"bm25": {"b": 0.5}}}),
    ("TextQuery", {"text": "a word"}),
    ("MultiVectorConfig", {"comparator": "max_sim"}),
    ("PayloadIndexInfo", {"data_type": "keyword", "points": 3}),
    (
        "PayloadIndexInfo",
        {"data_type": "integer", "params": {"type": "integer", "range": True}, "points": 0},
    ),
    ("DamagedFile", {"path": "/db/collections/c/segments/1/codes", "detail": "block 0"}),
    (
        "CollectionInfo",
        {
            "status": "green",
            "optimizer_status": "ok",
            "points_count": 1,
            "vectors_count": 1,
            "indexed_vectors_count": 0,
            "segments_count": 1,
            "config": {"params": {"vectors": {"size": 4, "distance": "Dot"}}},
        },
    ),
    ("RecommendInput", {"positive": [1, [0.5, 1.0]], "negative": [2], "strategy": "best_score"}),
    ("RecommendQuery", {"recommend": {"positive": [1], "strategy": "sum_scores"}}),
    ("ContextPair", PAIR),
    ("ContextQuery", {"context": [PAIR]}),
    ("DiscoverInput", {"target": [0.5, 1.0], "context": [PAIR, PAIR]}),
    ("DiscoverQuery", {"discover": {"target": 1, "context": [PAIR]}}),
    ("FeedbackItem", {"example": 1, "score": 0.5}),
    ("NaiveFeedbackStrategyParams", {"a": 1.0, "b": 0.5, "c": -0.5}),
    ("NaiveFeedbackStrategy", {"naive": {"a": 1.0, "b": 0.5, "c": -0.5}}),
    (
        "RelevanceFeedbackInput",
        {
            "target": 1,
            "feedback": [{"example": [0.5, 1.0], "score": 0.5}],
            "strategy": {"naive": {"a": 1.0, "b": 0.5, "c": -0.5}},
        },
    ),
    (
        "RelevanceFeedbackQuery",
        {
            "relevance_feedback": {
                "target": 1,
                "feedback": [],
                "strategy": {"naive": {"a": 1.0, "b": 0.5, "c": -0.5}},
            }
        },
    ),
    ("LookupLocation", {"collection": "other", "vector": "a"}),
    ("SearchMatrixPair", {"a": 1, "b": 2, "score": 0.5}),
    ("SearchMatrixPairsResponse", {"pairs": [{"a": 1, "b": 2, "score": 0.5}]}),
    (
        "SearchMatrixOffsetsResponse",
        {"offsets_row": [0], "offsets_col": [1], "scores": [0.5], "ids": [1, 2]},
    ),
    ("Rrf", {"k": 60, "weights": [1.0, 0.5]}),
    ("RrfQuery", {"rrf": {"k": 2}}),
    ("FusionQuery", {"fusion": "dbsf"}),
    (
        "Prefetch",
        {
            "prefetch": [{"query": [1.0, 0.0], "limit": 5}],
            "query": {"fusion": "rrf"},
            "using": "a",
            "filter": {"must": [{"key": "k", "match": {"value": 1}}]},
            "params": {"exact": True},
            "score_threshold": 0.5,
            "limit": 3,
            "lookup_from": {"collection": "other", "vector": "b"},
        },
    ),
    ("FormulaQuery", {"formula": {"sum": ["$score", 1.0]}, "defaults": {"n": 0}}),
    ("SumExpression", {"sum": ["$score", 1.0]}),
    ("MultExpression", {"mult": ["$score", {"neg": 1.0}]}),
    ("MaxExpression", {"max": ["$score", 1.0]}),
    ("MinExpression", {"min": ["$score", 1.0]}),
    ("NegExpression", {"neg": "$score"}),
    ("AbsExpression", {"abs": "$score"}),
    ("SqrtExpression", {"sqrt": "$score"}),
    ("ExpExpression", {"exp": "$score"}),
    ("LnExpression", {"ln": "$score"}),
    ("Log10Expression", {"log10": "$score"}),
    ("AcoshExpression", {"acosh": 2.0}),
    ("DivExpression", {"div": {"left": 1.0, "right": "$score"}}),
    ("DivParams", {"left": 1.0, "right": "$score", "by_zero_default": 0.0}),
    ("PowExpression", {"pow": {"base": 2.0, "exponent": "$score"}}),
    ("PowParams", {"base": 2.0, "exponent": "$score"}),
    ("DatetimeExpression", {"datetime": "2026-01-01T00:00:00+00:00"}),
    ("DatetimeKeyExpression", {"datetime_key": "at"}),
    ("GeoDistance", {"geo_distance": {"origin": {"lon": 13.4, "lat": 52.5}, "to": "place"}}),
    ("GeoDistanceParams", {"origin": {"lon": 13.4, "lat": 52.5}, "to": "place"}),
    ("LinDecayExpression", {"lin_decay": {"x": "n", "scale": 5.0}}),
    ("ExpDecayExpression", {"exp_decay": {"x": "n", "midpoint": 0.25}}),
    ("GaussDecayExpression", {"gauss_decay": {"x": "n", "target": 1.0}}),
    ("DecayParamsExpression", {"x": "n", "target": 1.0, "scale": 5.0, "midpoint": 0.25}),
    ("PayloadSelector", {"include": ["a"], "exclude": ["a.b"]}),
    ("ColumnInfo", {"automatic": True, "points": 7, "bytes": 100}),
]
SHAPE_IDS = [f"{name}-{number}" for number, (name, _) in enumerate(SHAPES)]
# Not in this qdrant_client, or with more in it there.
NOT_IN_QDRANT = {
    "ColumnInfo",
    "PayloadSelector",  # there: either of the two that have one half
    "InitFrom",
    "CollectionConfig",
    "CollectionInfo",
    "CollectionParams",
    "CollectionWarning",
    "DamagedFile",
    "IndexInfo",
    "NamedSparseVector",
    "NamedVector",
    "OptimizerProgress",
    "OptimizersConfig",
    "OptimizersConfigDiff",
    "OptimizersStatusError",
    "QueryResponse",
    "QueryRequest",
    "SearchEffort",
    "SearchParams",
    "SearchRequest",
    "SearchStage",
    "SegmentSearch",
    "SegmentInfo",
    "SegmentVectors",
}


def contains(whole: Any, part: Any) -> bool:
    """Whether JSON ``whole`` is ``part`` plus defaults."""
    if isinstance(part, dict) and isinstance(whole, dict):
        return all(key in whole and contains(whole[key], part[key]) for key in part)
    if isinstance(part, list) and isinstance(whole, list) and len(part) == len(whole):
        return all(map(contains, whole, part))
    return type(whole) is type(part) and bool(whole == part)


@pytest.mark.parametrize(("name", "shape"), SHAPES, ids=SHAPE_IDS)
def test_dict_and_struct_forms_agree_and_round_trip(name: str, shape: Any) -> None:
    type_ = getattr(m, name)
    struct = coerce(type_, shape)
    assert type(struct) is type_
    back = to_builtins(struct)
    assert contains(back, shape)
    assert json.loads(to_json(struct)) == back
    again = [coerce(type_, struct), coerce(type_, back)]
    if name not in ("Batch", "PointsBatch"):  # holds arrays, which have no one truth value
        assert again == [struct, struct]
    # A struct made by hand with raw values in it is validated and normalised like the dict.
    raw = type_(**{field.rstrip("_"): value for field, value in shape.items()})
    assert to_builtins(coerce(type_, raw)) == back


@pytest.mark.parametrize(
    ("name", "shape"), [entry for entry in SHAPES if entry[0] not in NOT_IN_QDRANT]
)
def test_qdrant_client_objects_are_read(name: str, shape: Any) -> None:
    type_ = getattr(m, name)
    complete = to_builtins(coerce(type_, shape))  # theirs has fewer defaults
    struct = coerce(type_, getattr(theirs, name).model_validate(complete))
    assert to_builtins(struct) == complete
    # A dump has every field, also those that only Qdrant has, which are unset.
    dump = getattr(theirs, name).model_validate(complete).model_dump(by_alias=True)
    assert to_builtins(coerce(type_, dump)) == complete


# They are never read from Qdrant's.
RESULTS = {"CollectionConfig", "CollectionInfo", "CollectionParams", "SegmentInfo"}
REQUESTS = sorted(
    {name for name, _ in SHAPES if hasattr(theirs, name)} - RESULTS - {"PayloadSelector"}
)


@pytest.mark.parametrize("name", REQUESTS)
def test_fields_that_only_qdrant_has_are_known_by_name(name: str) -> None:
    fields = getattr(theirs, name).model_fields
    names = {field.alias or key for key, field in fields.items()}
    ours = known_fields(getattr(m, name))[0]
    assert names - ours.keys() <= _QDRANT_ONLY
    type_ = getattr(m, name)
    with pytest.raises(InvalidInputError, match="'unheard'"):
        coerce(type_, {**dict.fromkeys(known_fields(type_)[1]), "unheard": None})


def test_every_struct_has_a_shape() -> None:
    structs = {
        name
        for name, value in vars(m).items()
        if isinstance(value, type) and issubclass(value, msgspec.Struct)
    } - {"Result", "ScoredArrays"}  # a base, and arrays, which are not JSON
    assert structs == {name for name, _ in SHAPES}
    for name in structs:
        converter(getattr(m, name)).fields  # type: ignore[attr-defined]  # noqa: B018 - compiles


def test_public_names_exist_and_enums_agree_with_qdrant() -> None:
    assert all(hasattr(m, name) for name in m.__all__)
    enums = [v for v in vars(m).values() if isinstance(v, type) and issubclass(v, Enum)]
    assert len(enums) == 38
    for enum in enums:
        for member in enum:
            assert getattr(theirs, enum.__name__)[member.name].value == member.value
            assert coerce(enum, getattr(theirs, enum.__name__)[member.name]) is member


def test_none_is_the_empty_struct_where_nothing_is_required() -> None:
    assert coerce(m.SearchParams, None) == m.SearchParams()
    assert coerce(m.SearchParams, {"exact": None, "quantization": None}) == m.SearchParams()
    assert coerce(m.SearchParams, m.SearchParams(exact=None)) == m.SearchParams()  # type: ignore[arg-type]
    with pytest.raises(InvalidInputError, match=r"^vectors: expected VectorParams, got None"):
        coerce(m.VectorParams, None, "vectors")


def test_a_valid_struct_comes_back_as_itself() -> None:
    params = m.SearchParams(hnsw_ef=3, quantization=m.QuantizationSearchParams(rescore=True))
    assert coerce(m.SearchParams, params) is params


def test_forms_mix_at_every_level() -> None:
    condition = theirs.FieldCondition(key="a", match=theirs.MatchExcept(**{"except": [1]}))
    mixed = m.Filter(must=[{"must": [condition]}, m.HasIdCondition(has_id=[1])])  # type: ignore[list-item]
    assert to_builtins(coerce(m.Filter, mixed)) == {
        "must": [{"must": [{"key": "a", "match": {"except": [1]}}]}, {"has_id": [1]}]
    }


def test_numpy_scalars_and_arrays_become_pythons() -> None:
    params = coerce(
        m.SearchParams,
        {"hnsw_ef": np.int64(7), "exact": np.bool_(True), "quantization": {"oversampling": 2}},
    )
    assert repr(params) == repr(
        m.SearchParams(
            hnsw_ef=7, exact=True, quantization=m.QuantizationSearchParams(oversampling=2.0)
        )
    )
    quantile = coerce(
        m.ScalarQuantizationConfig, {"type": "int8", "quantile": np.float64(0.5)}
    ).quantile
    assert type(quantile) is float
    ids = coerce(m.HasIdCondition, {"has_id": np.array([1, 2], dtype=np.uint64)}).has_id
    assert ids == [1, 2]
    assert {type(i) for i in ids} == {int}


@pytest.mark.parametrize(
    ("given", "canonical"),
    [
        (5, 5),
        (np.uint64(2**64 - 1), 2**64 - 1),
        (UUID(UUID_TEXT), UUID_TEXT),
        (UUID_TEXT.upper(), UUID_TEXT),
        (UUID_TEXT.replace("-", ""), UUID_TEXT),
        ("urn:uuid:" + UUID_TEXT, UUID_TEXT),
        ("{" + UUID_TEXT + "}", UUID_TEXT),
    ],
)
def test_ids_have_one_canonical_form(given: Any, canonical: Any) -> None:
    assert m.parse_point_id(given) == canonical
    assert type(m.parse_point_id(given)) is type(canonical)
    assert coerce(m.PointStruct, {"id": given, "vector": []}).id == canonical
    assert coerce(m.HasIdCondition, m.HasIdCondition(has_id=[given])).has_id == [canonical]


@pytest.mark.parametrize(
    "bound",
    [
        "2024-01-01",
        "2024-01-01T00:00",
        "2024-01-01 01:00:00+01:00",
        "2024-01-01T00:00:00.0000009Z",
        date(2024, 1, 1),
        datetime(2024, 1, 1),
        datetime(2024, 1, 1, 2, tzinfo=timezone(timedelta(hours=2))),
    ],
)
def test_datetimes_are_moments_in_utc_unless_they_say_otherwise(bound: Any) -> None:
    condition = coerce(m.FieldCondition, {"key": "a", "range": {"gte": bound}})
    assert condition.range == m.DatetimeRange(gte=datetime(2024, 1, 1, tzinfo=timezone.utc))


def test_a_bound_that_no_float_can_hold_keeps_its_value() -> None:
    assert to_builtins(coerce(m.Range, {"gt": 2**53 + 1, "lt": math.inf}))["gt"] == 2**53 + 1


def test_match_except_takes_both_spellings() -> None:
    assert m.MatchExcept(except_=[1]) == m.MatchExcept(**{"except": [1]})
    assert m.MatchExcept(except_=[1]).except_ == [1]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: m.SearchParams(recal=0.9),
            "SearchParams: unknown field 'recal'; known fields: hn",
        ),
        (
            lambda: m.VectorParams(size=4),
            "VectorParams: missing field 'distance'; known fields: si",
        ),
        (
            lambda: m.Filter([]),
            "Filter: expected keyword arguments only; known fields: should, min_should, must, ",
        ),
        (lambda: m.MatchExcept(), "MatchExcept: missing field 'except'; known fields: except"),
        (lambda: m.MatchExcept([1]), "MatchExcept: expected keyword arguments only; known fields:"),
        (lambda: m.Batch(), "Batch: missing field 'ids'; known fields: ids, vectors, payloads"),
    ],
)
def test_wrong_arguments_of_a_model_name_it_and_its_fields(make: Any, message: str) -> None:
    """They were msgspec's: "Unexpected keyword argument 'recal'"."""
    with pytest.raises(InvalidInputError) as caught:
        make()
    assert str(caught.value).startswith(message)
    with pytest.raises(InvalidInputError, match="'shard_key': Qdrant's, not supported by vecdb"):
        m.SearchParams(shard_key="a")  # type: ignore[call-arg]


def test_a_bound_may_be_a_time_of_numpys() -> None:
    """A payload takes it, and a filter could not say it."""
    moment = np.datetime64("2024-05-31T12:00:00.000000001")
    read = coerce(m.FieldCondition, {"key": "a", "range": {"gte": moment}})
    assert read.range == coerce(m.DatetimeRange, {"gte": "2024-05-31T12:00:00"})
    assert coerce(m.DatetimeRange, m.DatetimeRange(gte=moment)) == read.range


def test_what_a_value_may_be_may_be_a_set() -> None:
    assert coerce(m.MatchAny, {"any": {UUID(UUID_TEXT)}}).any == [UUID_TEXT]
    assert coerce(m.HasIdCondition, {"has_id": {5}}).has_id == [5]


REFUSALS: list[tuple[str, Any, str]] = [
    (
        "SearchParams",
        {"hnsw_fe": 3},
        "x: unknown field 'hnsw_fe'; known fields: hnsw_ef, exact, quantization, indexed_only, "
        "recall",
    ),
    (
        "SearchParams",
        {"shard_key": "a"},
        "x: unknown field 'shard_key'; known fields: hnsw_ef, exact, quantization, indexed_only, "
        "recall, acorn, idf "
        "('shard_key': Qdrant's, not supported by vecdb)",
    ),
    ("SearchParams", [1], "x: expected SearchParams or its dict, got [1] (list)"),
    ("SearchParams", m.Filter(), "x: expected SearchParams or its dict, got Filter"),
    ("SearchParams", m.SearchParams, "x: expected SearchParams or its dict, got "),
    ("SearchParams", {"hnsw_ef": "64"}, "x.hnsw_ef: expected an integer >= 0, got '64' (str)"),
    ("SearchParams", {"hnsw_ef": True}, "x.hnsw_ef: expected an integer >= 0, got True (bool)"),
    ("SearchParams", {"hnsw_ef": 64.0}, "x.hnsw_ef: expected an integer >= 0, got 64.0 (float)"),
    ("SearchParams", {"hnsw_ef": -1}, "x.hnsw_ef: expected an integer >= 0, got -1 (int)"),
    ("SearchParams", {"exact": 1}, "x.exact: expected a bool, got 1 (int)"),
    (
        "SearchParams",
        {"recall": 0},
        "x.recall: expected a number above 0.0, up to 1.0, got 0.0 (float)",
    ),
    (
        "SearchParams",
        {"recall": -0.5},
        "x.recall: expected a number above 0.0, up to 1.0, got -0.5",
    ),
    ("SearchParams", {"recall": 97}, "x.recall: expected a number above 0.0, up to 1.0, got 97.0"),
    (
        "OptimizersConfig",
        {"recall": 0},
        "x.recall: expected a number above 0.0, up to 1.0, got 0.0 (float)",
    ),
    (
        "SearchParams",
        {"quantization": {"oversampling": 0.5}},
        "x.quantization.oversampling: expected a number >= 1.0, got 0.5 (float)",
    ),
    (
        "QuantizationSearchParams",
        {"oversampling": math.inf},
        "x.oversampling: expected a number >= 1.0, got inf",
    ),
    (
        "QuantizationSearchParams",
        {"oversampling": math.nan},
        "x.oversampling: expected a number >= 1.0, got nan",
    ),
    ("QuantizationSearchParams", {"oversampling": 10**400}, "x.oversampling: expected a number"),
    (
        "VectorParams",
        {"size": 0, "distance": "Dot"},
        "x.size: expected an integer from 1 to 65536, got 0 (int)",
    ),
    ("VectorParams", {"size": 65537, "distance": "Dot"}, "x.size: expected an integer from 1 to"),
    ("VectorParams", {"size": 4}, "x: missing field 'distance'; known fields: size, distance,"),
    (
        "VectorParams",
        {"size": 4, "distance": "cosine"},
        "x.distance: expected one of 'Cosine', 'Euclid', 'Dot', 'Manhattan', got 'cosine' (str)",
    ),
    (
        "VectorParams",
        {"size": 4, "distance": "Dot", "datatype": "turbo4"},
        "x.datatype: expected one of 'float32', 'float16', 'uint8', got 'turbo4' (str)",
    ),
    (
        "VectorParams",
        {"size": 4, "distance": "Dot", "quantization_config": {"ternary": {}}},
        "x.quantization_config: expected one of ScalarQuantization (scalar); ProductQuantization "
        "(product); BinaryQuantization (binary); TurboQuantization (turbo); got fields 'ternary'",
    ),
    (
        "BinaryQuantizationConfig",
        {"encoding": "three_bits"},
        "x.encoding: expected one of 'one_bit', 'two_bits', 'one_and_half_bits', got 'three_bits' "
        "(str)",
    ),
    (
        "TurboQuantQuantizationConfig",
        {"bits": 4},
        "x.bits: expected one of 'bits1', 'bits1_5', 'bits2', 'bits4', 'bits8', got 4 (int)",
    ),
    (
        "VectorParams",
        {"size": 4, "distance": "Dot", "quantization_config": "int8"},
        "x.quantization_config: expected ScalarQuantization or ProductQuantization or "
        "BinaryQuantization or TurboQuantization, got 'int8' (str)",
    ),
    (
        "ScalarQuantizationConfig",
        {"type": "int8", "quantile": 0.4},
        "x.quantile: expected a number from 0.5 to 1.0, got 0.4 (float)",
    ),
    (
        "ProductQuantizationConfig",
        {"compression": "x3"},
        "x.compression: expected one of 'x4', 'x8', 'x16', 'x32', 'x64', got 'x3' (str)",
    ),
    (
        "OptimizersConfigDiff",
        {"deleted_threshold": 1.5},
        "x.deleted_threshold: expected a number from 0.0 to 1.0, got 1.5 (float)",
    ),
    (
        "OptimizersConfigDiff",
        {"memmap_threshold": -1},
        "x.memmap_threshold: expected an integer >= 0, got -1 (int)",
    ),
    ("PointStruct", {"id": -1, "vector": []}, "x.id: point id -1: expected 0 <= id < 2**64"),
    (
        "PointStruct",
        {"id": "7", "vector": []},
        "x.id: point id: expected an unsigned 64-bit integer or a UUID, got the string '7'",
    ),
    ("PointStruct", {"id": 1}, "x: missing field 'vector'"),
    # It came, as None: "missing" sent people to look for a key that was there.
    (
        "PointStruct",
        {"id": None, "vector": []},
        "x.id: point id: expected an unsigned 64-bit integer or a UUID, got NoneType None",
    ),
    (
        "FieldCondition",
        {"key": "a", "match": {"value": None}},
        "x.match.value: expected a bool or an integer or a string, got None",
    ),
    ("FilterSelector", {"filter": None}, "x.filter: expected Filter"),
    (
        "VectorParams",
        {"size": None, "distance": "Dot"},
        "x.size: expected an integer from 1 to 65536, got None",
    ),
    (
        "FieldCondition",
        {"key": "a", "range": {"gt": np.datetime64("NaT")}},
        "x.range.gt: expected a datetime or an RFC 3339 string, got np.datetime64('NaT'",
    ),
    ("PointStruct", {"id": 1, "vector": [], "payload": [1]}, "x.payload: expected a dict, got"),
    (
        "PointStruct",
        {"id": 1, "vector": [], "payload": {1: 2}},
        "x.payload: expected string keys, got 1 (int)",
    ),
    ("Batch", {"ids": [1, 2], "vectors": [[1.0]]}, "x: expected 2 vectors, one per id, got 1"),
    (
        "Batch",
        {"ids": [1], "vectors": {"a": np.zeros((2, 3))}},
        "x: expected 1 vectors['a'], one per id, got 2",
    ),
    (
        "Batch",
        {"ids": [1], "vectors": [[1.0]], "payloads": {}},
        "x: expected payloads to be a list or an array, got dict",
    ),
    (
        "Batch",
        {"ids": 7, "vectors": [[1.0]]},
        "x: expected ids to be a list or an array, got int",
    ),
    (
        "Filter",
        {"must": [{"field": "a"}]},
        "x.must[0]: expected one of FieldCondition (key); IsEmptyCondition (is_empty); "
        "IsNullCondition (is_null); HasIdCondition (has_id); HasVectorCondition (has_vector); "
        "SliceCondition (slice); NestedCondition (nested); Filter (should, min_should, must, "
        "must_not); got fields 'field'",
    ),
    (
        "Filter",
        {"must": {"slice": {"total": 2, "index": 2}}},
        "x.must.slice: expected an index below the total of 2, got 2",
    ),
    ("Slice", {"total": 0, "index": 0}, "x.total: expected an integer from 1 to 184467"),
    ("Slice", {"total": 1, "index": -1}, "x.index: expected an integer >= 0, got -1 (int)"),
    (
        "Filter",
        {"must": [{"key": "a", "geo_radius": {"center": {"lon": 1, "lat": 91}, "radius": 1}}]},
        "x.must[0].geo_radius.center.lat: expected a number from -90 to 90, got 91",
    ),
    ("Filter", {"must": 3}, "x.must: expected a list or FieldCondition or IsEmptyCondition or"),
    (
        "Filter",
        {"must": [{"key": "a", "match": {"regex": "b"}}]},
        "x.must[0].match: expected one of MatchValue (value); MatchText (text); MatchTextAny "
        "(text_any); MatchPhrase (phrase); MatchPrefix (prefix); MatchSubstring (substring); "
        "MatchAny (any); MatchExcept (except); got fields 'regex'",
    ),
    ("GeoRadius", {"radius": 1}, "x: missing field 'center'; known fields: center, radius"),
    (
        "Filter",
        {"must_not": [{"key": "a", "match": {"value": 1.5}}]},
        "x.must_not[0].match.value: expected a bool or an integer or a string, got 1.5 (float)",
    ),
    ("FieldCondition", {"key": "a"}, "x: expected exactly one of match, range, geo_bounding_box"),
    (
        "FieldCondition",
        {"key": "a", "match": {"value": 1}, "is_null": False},
        "x: expected exactly one of match, range, geo_bounding_box, geo_radius, geo_polygon, "
        "values_count, is_empty, is_null, got match and is_null; give each its own condition",
    ),
    ("MatchAny", {"any": [1, "a"]}, "x.any: expected only integers or only strings, got both"),
    ("MatchAny", {"any": [True]}, "x.any[0]: expected an integer or a string, got True (bool)"),
    ("MatchAny", {"any": "abc"}, "x.any: expected a list, got 'abc' (str)"),
    ("Range", {"gt": "1"}, "x.gt: expected an integer or a number, got '1' (str)"),
    ("Range", {"gt": math.nan}, "x.gt: expected an integer or a number, got nan (float)"),
    (
        "FieldCondition",
        {"key": "a", "range": {"gt": "soon"}},
        "x.range.gt: expected a datetime or an RFC 3339 string, got 'soon' (str)",
    ),
    (
        "FieldCondition",
        {"key": "a", "range": {"gt": "2024-02-30"}},
        "x.range.gt: expected a datetime or an RFC 3339 string, got '2024-02-30' (str)",
    ),
    ("FieldCondition", {"key": "a", "range": 3}, "x.range: expected Range or DatetimeRange, got"),
    ("ValuesCount", {"gt": -1}, "x.gt: expected an integer >= 0, got -1 (int)"),
    ("MinShould", {"conditions": [], "min_count": 0}, "x.min_count: expected an integer >= 1"),
    ("HasIdCondition", {"has_id": [1, 1.5]}, "x.has_id[1]: point id: expected an unsigned 64-bit"),
    ("Mmr", {"diversity": 1.5}, "x.diversity: expected a number from 0.0 to 1.0, got 1.5 (float)"),
    ("Mmr", {"diversity": float("nan")}, "x.diversity: expected a number from 0.0 to 1.0"),
    ("Mmr", {"candidates_limit": 0}, "x.candidates_limit: expected an integer from 1 to 16384"),
    ("NearestQuery", {"nearest": 1, "mmr": 3}, "x.mmr: expected Mmr or its dict, got 3 (int)"),
    ("QueryRequest", {"limit": 0}, "x.limit: expected an integer >= 1, got 0 (int)"),
    ("QueryRequest", {"offset": -1}, "x.offset: expected an integer >= 0, got -1 (int)"),
    (
        "QueryRequest",
        {"with_payload": 1},
        "x.with_payload: expected a bool or a list or PayloadSelector or PayloadSelectorInclude or "
        "PayloadSelectorExclude, got 1 (int)",
    ),
    (
        "QueryRequest",
        {"with_payload": ["a", 1]},
        "x.with_payload[1]: expected a string, got 1 (int)",
    ),
    (
        "NamedVector",
        {"name": "x" * 201, "vector": []},
        "x.name: expected a vector name of at most 200 bytes",
    ),
]


@pytest.mark.parametrize(("name", "given", "message"), REFUSALS)
def test_refusals_say_where_what_was_expected_and_what_came(
    name: str, given: Any, message: str
) -> None:
    type_ = getattr(m, name)
    with pytest.raises(InvalidInputError) as caught:
        coerce(type_, given, "x")
    assert str(caught.value).startswith(message)
    if isinstance(given, dict) and given.keys() <= set(type_.__struct_fields__):
        if "missing field" in message and not issubclass(type_, Model):
            with pytest.raises(TypeError, match="Missing required"):
                type_(**given)
        elif "missing field" in message or issubclass(type_, Checked):
            with pytest.raises(InvalidInputError) as again:
                type_(**given)
            assert str(again.value) == str(caught.value).replace("x", name, 1)
        else:  # or when that is used
            with pytest.raises(InvalidInputError) as again:
                coerce(type_, type_(**given), "x")
            assert str(again.value) == str(caught.value)


@pytest.mark.parametrize("name", [name for name in m.__all__ if name.endswith("Config")])
def test_every_configuration_is_checked_when_it_is_made(name: str) -> None:
    type_ = getattr(m, name)
    if inspect.isclass(type_):  # not a union of them
        assert issubclass(type_, Checked)


def test_what_is_only_in_another_form_is_no_mistake() -> None:
    """Enums by their values and nested structs as dicts, as they ever could be given."""
    params = m.VectorParams(
        size=np.int64(4),  # type: ignore[arg-type]
        distance="Dot",  # type: ignore[arg-type]
        quantization_config={"scalar": {"type": "int8"}},  # type: ignore[arg-type]
    )
    read = coerce(m.VectorParams, params)
    assert read.distance is m.Distance.DOT
    assert isinstance(read.quantization_config, m.ScalarQuantization)
    with pytest.raises(InvalidInputError, match=r"quantization_config\.scalar\.type: expected"):
        m.VectorParams(
            size=4,
            distance=m.Distance.DOT,
            quantization_config={"scalar": {"type": "int7"}},  # type: ignore[arg-type]
        )


def test_a_long_value_is_cut_in_the_message() -> None:
    with pytest.raises(InvalidInputError) as caught:
        coerce(m.SearchParams, {"exact": "x" * 10_000})
    assert len(str(caught.value)) < 150


def test_endless_nesting_is_refused_not_a_crash() -> None:
    endless: dict[str, Any] = {}
    endless["must"] = [endless]
    with pytest.raises(InvalidInputError, match=r"^filter: nested too deeply$"):
        coerce(m.Filter, endless, "filter")


ONE = {"size": 4, "distance": "Dot"}


def test_vectors_config_is_one_or_named() -> None:
    one = m.VectorParams(size=4, distance=m.Distance.DOT)
    assert m.parse_vectors_config(ONE) == one
    assert m.parse_vectors_config(one) is one
    assert m.parse_vectors_config({"a": ONE, "b": one}) == {"a": one, "b": one}
    assert m.parse_vectors_config({"": ONE}) == one
    assert m.parse_vectors_config({"": ONE, "b": one}) == {"": one, "b": one}
    assert m.parse_vectors_config({}) == m.parse_vectors_config(None) == {}


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (4, "v: expected VectorParams or a dict of name to VectorParams, got 4 (int)"),
        ({"ä" * 101: ONE}, "v: expected a vector name of at most 200 bytes, got"),
        ({1: ONE}, "v: expected a vector name, got 1 (int)"),
        ({"a": {"size": 4}}, "v['a']: missing field 'distance'"),
        # It was called no VectorParams, as if "distance" were the name of a vector.
        ({"distance": "Dot"}, "v: missing field 'size'; known fields: size, distance,"),
        ({"sise": 4, "distance": "Dot"}, "v: unknown field 'sise'; known fields: size, distance,"),
        ({"text": 4}, "v['text']: expected VectorParams or its dict, got 4 (int)"),
    ],
)
def test_vectors_config_refusals(given: Any, message: str) -> None:
    with pytest.raises(InvalidInputError) as caught:
        m.parse_vectors_config(given, "v")
    assert str(caught.value).startswith(message)


def test_quantization_config_and_its_removal() -> None:
    binary = m.BinaryQuantization(binary=m.BinaryQuantizationConfig())
    assert m.parse_quantization_config(None) is None
    assert m.parse_quantization_config({"binary": {}}) == binary
    assert m.parse_quantization_config_diff({"binary": {}}) == binary
    assert m.parse_quantization_config_diff("Disabled") is m.Disabled.DISABLED
    assert m.parse_quantization_config_diff(m.Disabled.DISABLED) is m.Disabled.DISABLED
    assert m.parse_quantization_config_diff(None) is None
    with pytest.raises(InvalidInputError, match=r"^quantization_config: expected ScalarQuant"):
        m.parse_quantization_config("Disabled")


def test_points_selector_is_ids_or_a_filter() -> None:
    filter_ = coerce(m.Filter, {"must": [MATCH]})
    for given in (
        [1, UUID(UUID_TEXT)],
        {"points": [1, UUID_TEXT]},
        (1, UUID_TEXT),
        {1: 0, UUID_TEXT: 0}.keys(),  # a set
        iter([1, UUID_TEXT]),
    ):
        assert m.parse_points_selector(given) == [1, UUID_TEXT]
    assert m.parse_points_selector({7}) == [7]  # as retrieve takes it
    assert m.parse_points_selector(m.PointIdsList(points=[UUID(UUID_TEXT)])) == [UUID_TEXT]
    assert m.parse_points_selector(np.arange(3)) == [0, 1, 2]
    for given in (filter_, {"must": [MATCH]}, {"filter": {"must": [MATCH]}}):
        assert m.parse_points_selector(given) == filter_
    assert m.parse_points_selector(m.FilterSelector(filter=filter_)) == filter_
    for everything in (m.Filter(), {"must": []}, {"filter": {}}):
        assert isinstance(m.parse_points_selector(everything), m.Filter)
    with pytest.raises(
        InvalidInputError, match=r"^points_selector: expected .*an empty dict; Filt"
    ):
        m.parse_points_selector({})  # an accident, and it meant every point
    with pytest.raises(InvalidInputError, match=r"^points_selector: expected .*PointIdsList"):
        m.parse_points_selector(7)
    with pytest.raises(InvalidInputError, match=r"^points_selector\[1\]: point id"):
        m.parse_points_selector([1, "x"])


def test_points_are_a_batch_or_a_list() -> None:
    vectors = np.zeros((2, 3), dtype=np.float32)
    batch = m.parse_points({"ids": [1, 2], "vectors": vectors})
    assert isinstance(batch, m.Batch)
    assert batch.vectors is vectors  # passes through untouched
    assert m.parse_points(batch) is batch
    points = m.parse_points([m.PointStruct(id=1, vector=vectors[0]), {"id": 2, "vector": [0.0]}])
    assert isinstance(points, list)
    assert [point.id for point in points] == [1, 2]
    with pytest.raises(InvalidInputError, match=r"^points\[1\]: missing field 'vector'"):
        m.parse_points([{"id": 1, "vector": []}, {"id": 2}])
    assert m.parse_points(point for point in points) == points


def test_with_payload_and_with_vectors() -> None:
    assert m.parse_with_payload(None) is False
    assert m.parse_with_payload(True) is True
    assert m.parse_with_payload(["a"]) == ["a"]
    assert m.parse_with_payload([]) == []
    assert m.parse_with_payload({"exclude": ["a"]}) == m.PayloadSelectorExclude(exclude=["a"])
    assert m.parse_with_vectors(["a"]) == ["a"]
    with pytest.raises(InvalidInputError, match=r"^with_vectors: expected a bool or a list"):
        m.parse_with_vectors("a")


def test_merge_takes_what_the_diff_sets() -> None:
    base = m.OptimizersConfig(memmap_threshold=5)
    diff = m.OptimizersConfigDiff(indexing_threshold=0, deleted_threshold=0.3)
    merged = m.merge(base, diff)
    assert merged == m.OptimizersConfig(
        memmap_threshold=5, indexing_threshold=0, deleted_threshold=0.3
    )
    assert base.indexing_threshold == 10_000
    assert m.merge(m.HnswConfig(), m.HnswConfigDiff(m=4)).m == 4
    assert m.merge(m.WalConfig(), m.WalConfigDiff()) == m.WalConfig()


@pytest.mark.parametrize(
    ("full", "diff"),
    [
        (m.OptimizersConfig, m.OptimizersConfigDiff),
        (m.HnswConfig, m.HnswConfigDiff),
        (m.WalConfig, m.WalConfigDiff),
    ],
)
def test_a_diff_has_the_fields_of_its_config(full: Any, diff: Any) -> None:
    assert full.__struct_fields__ == diff.__struct_fields__


def test_a_stored_configuration_reads_back_the_same() -> None:
    config = m.CollectionConfig(
        params=m.CollectionParams(
            vectors={
                "text": m.VectorParams(
                    size=8,
                    distance=m.Distance.COSINE,
                    quantization_config=m.ProductQuantization(
                        product=m.ProductQuantizationConfig(compression=m.CompressionRatio.X16)
                    ),
                ),
                "image": m.VectorParams(size=2, distance=m.Distance.EUCLID, on_disk=False),
            }
        ),
        optimizer_config=m.OptimizersConfig(memmap_threshold=20_000),
        quantization_config=m.ScalarQuantization(
            scalar=m.ScalarQuantizationConfig(
                type=m.ScalarType.INT8, quantile=0.99, always_ram=True
            )
        ),
    )
    stored = json.loads(to_json(config))
    assert coerce(m.CollectionConfig, stored) == config
    # Defaults are written out: a later version with other defaults must not change a collection.
    assert stored["optimizer_config"]["deleted_threshold"] == 0.2
    assert "max_segment_size" not in stored["optimizer_config"]


def test_a_null_in_a_payload_is_kept() -> None:
    assert to_builtins(m.Record(1, {"a": None, "b": {"c": None}})) == {
        "id": 1,
        "payload": {"a": None, "b": {"c": None}},
    }


def test_to_builtins_reads_arrays_and_refuses_what_is_not_json() -> None:
    point = m.ScoredPoint(UUID(UUID_TEXT), 1, np.float32(0.5), None, np.ones(2))  # type: ignore[arg-type]
    assert to_builtins(point) == {"id": UUID_TEXT, "version": 1, "score": 0.5, "vector": [1.0, 1.0]}
    with pytest.raises(InvalidInputError, match="expected a model or JSON data"):
        to_builtins({"a": object()})


def test_optimizer_status_is_ok_or_an_error() -> None:
    shape = dict(next(shape for name, shape in SHAPES if name == "CollectionInfo"))
    assert coerce(m.CollectionInfo, shape).optimizer_status == "ok"
    shape["optimizer_status"] = {"error": "no space"}
    info = coerce(m.CollectionInfo, shape)
    assert info.optimizer_status == m.OptimizersStatusError("no space")
    shape["optimizer_status"] = "fine"
    with pytest.raises(InvalidInputError, match=r"optimizer_status: expected 'ok' or Optim"):
        coerce(m.CollectionInfo, shape)


def test_results_are_made_by_position_and_requests_by_keyword() -> None:
    assert m.ScoredPoint(1, 2, 0.5).score == 0.5
    with pytest.raises(InvalidInputError, match=r"^SearchParams: expected keyword arguments only"):
        m.SearchParams(3)  # type: ignore[misc]
    with pytest.raises(AttributeError):
        m.SearchParams().exact = True  # type: ignore[misc]


def test_importing_models_loads_nothing_heavy() -> None:
    heavy = {"numba", "lmdb", "pydantic", "qdrant_client"}
    code = f"import sys, vecdb.models; print(sorted({heavy} & set(sys.modules)))"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"


def test_public_functions_are_documented() -> None:
    for name in m.__all__:
        value = getattr(m, name)
        if inspect.isfunction(value):
            assert value.__doc__, name

"""Which suites are run, from which sources, and what of it vecdb cannot answer, or will not."""

from __future__ import annotations

from dataclasses import dataclass

# What vecdb has not, and how the server calls it when it refuses it. The first that fits counts.
NEEDS = {
    "other datatypes": r"turbo|for multivectors",
    "strict mode": r"strict_mode",
    "inference": r"[Dd]ocument|[Ii]mage|[Ii]nference|model",
    "several machines": r"standalone mode|shard|init_from",
    "quotas": r"quota",
}


@dataclass(frozen=True)
class Expected:
    """Tests that fail, whose errors do not say why. ``tests``: a pattern of their names, found
    anywhere. ``why``: one of NEEDS, or what vecdb does in another way on purpose. ``said``: a
    pattern that must be in what the test said, so that it does not excuse another failure."""

    tests: str
    why: str
    said: str = ""


@dataclass(frozen=True)
class Suite:
    """One of them. ``source``: the public repository and the commit of which a checkout is needed.
    ``place``: a folder in it. ``requirements``: for pip, pinned; none: it is run by vitest.
    ``left_out``: tests that never end where they fail."""

    name: str
    source: str
    place: str
    tests: tuple[str, ...]
    requirements: tuple[str, ...] = ()
    prefers_grpc: bool = False
    left_out: tuple[str, ...] = ()
    expected: tuple[Expected, ...] = ()


_PYTEST = ("pytest==8.4.2", "pytest-timeout==2.4.0")
_OF_QDRANT = (
    *_PYTEST,
    "pytest-cases==3.10.1",
    "pytest-subtests==0.14.2",
    "requests==2.34.2",
    "schemathesis==3.39.16",
    "retry==0.9.2",
    "jsons==1.6.3",
    "more-itertools==10.8.0",
    "pyjwt==2.15.1",
    "qdrant-client==1.18.0",
)
_OF_CLIENT = (*_PYTEST, "pytest-asyncio==1.5.0", "pytest-mock==3.17.0", "qdrant-client==1.18.0")
_QDRANT = "qdrant/qdrant 74f3e85b9473c62560006c043e13737ce6b48412"
_CLIENT = "qdrant/qdrant-client 326adefcc2158121dd0d04877e1a483b5aa2627b"
_JS = "qdrant/qdrant-js 06fb946007ec45f67925972e009a512f84c5a0fd"

_TOKENS = "texts are compared by tokens, as in Qdrant from 1.19.1 on; local mode by characters"
_OF_LOCAL = (
    Expected(".", _TOKENS, said=r"[Ff]ailed with filter.*MatchText"),
    Expected(
        r"test_facet::test_(minimal|limit|exact|filtered|exact_filtered)$",
        "facets count strings as they are stored; Qdrant writes UUIDs in their usual form",
    ),
    Expected(
        r"test_values_count_query\[payloads[0-2]-|test_values_count::test_values_count$",
        "a missing field has 0 values, as in Qdrant from 1.19 on; none in local mode",
    ),
    Expected(
        r"test_is_null\[payloads[01]-",
        "an array that holds a null is null, as in Qdrant where the field is indexed",
    ),
    Expected(
        "test_query_group$",
        "groups are of what the prefetches find; Qdrant asks these again to fill each group",
        said="dense_queries_rescore_group",
    ),
    Expected("test_formula_query$", "local mode fails", said=r"no attribute 'is_integer'"),
    Expected(
        "test_formula_query$",
        "the client cuts what is said after 200 characters, and the test cannot tell what it was",
        said="'in the paylo.*defaults' == 'produced a non-finite number'",
    ),
)
"""Random filters are printed by the tests that make them."""
_OF_GRPC = (
    Expected(
        ".", "the test expects an error of REST", said=r"(?s)pytest\.raises\(.*_InactiveRpcError"
    ),
    Expected(
        ".",
        "Qdrant's client gives {} for no payload over gRPC",
        said=r"payload = None, \w+\[\d+\]\.payload = \{\}"
        r"|payload = \{\}, \w+\[\d+\]\.payload = None",
    ),
    Expected(
        "test_upload_collection_list_np_arrays$|test_not_jsonable_payload$",
        "Qdrant's client does not send this over gRPC",
        said=r"(?m)^E +ValueError: (invalid VectorStruct|Not supported json)",
    ),
    Expected("test_scroll_duplicated_values$", "Qdrant's client sends an empty vector over gRPC"),
    Expected(
        "test_config_variations$",
        "Qdrant's client reads an index of sparse vectors that is none over gRPC",
        said=r"index=SparseIndexParams\(full_scan_threshold=None",
    ),
)

SUITES = (
    Suite(
        "openapi",
        _QDRANT,
        "tests",
        ("openapi",),
        _OF_QDRANT,
        left_out=("openapi/test_vector_config.py::test_disable_indexing",),
        expected=(
            Expected("test_deferred_points$", "points are found as soon as they are written"),
            Expected(
                "test_pinned_dense_vector_storage_is_rejected|test_update_collection_memory_place",
                "original vectors can be pinned",
                said="assert 200 == 422",
            ),
            Expected(
                "::test_search_matrix_(pairs|offsets)",
                "numbers of 32 bits are added up in another order",
                said=r"1\.155\b",
            ),
            Expected(
                "test_query_full::test_recommend_lookup_validations",
                "of two mistakes another is named first",
                said="Fusion queries cannot be combined",
            ),
            Expected(
                "test_query_full::test_query_validation",
                "unknown fields are refused",
                said="unknown field `vector`",
            ),
            Expected(
                "test_query_full::test_random_rescore_with_offset",
                "no points by chance come first, to be left out for an offset, as in local mode",
                said="assert 2 == 1",
            ),
            Expected(
                "::test_recommend_from_another_collection",
                "a vector that is not there has the status 400 everywhere",
                said="unknown_vector",
            ),
            Expected(
                "::test_update_vectors_unknown_point",
                "unknown fields are refused",
                said="unknown field `payload`",
            ),
            Expected(
                "::test_formula",
                "null is no number, as in local mode; Qdrant asks an index, which has none",
                said="expected a number at 'price'",
            ),
            Expected(
                "test_relevance_feedback::test_validations",
                "feedback without an example is a search for the target",
                said="assert not True",
            ),
            Expected("test_shard_snapshot::", "there are no shards", said="snapshot"),
        ),
    ),
    Suite(
        "congruence",
        _CLIENT,
        ".",
        ("tests/congruence_tests",),
        _OF_CLIENT,
        expected=_OF_LOCAL,
    ),
    Suite(
        "congruence-grpc",
        _CLIENT,
        ".",
        ("tests/congruence_tests",),
        _OF_CLIENT,
        prefers_grpc=True,
        expected=(*_OF_GRPC, *_OF_LOCAL),
    ),
    Suite(
        "client",
        _CLIENT,
        ".",
        (
            "tests/test_qdrant_client.py",
            "tests/test_async_qdrant_client.py",
            "tests/test_migrate.py",
        ),
        _OF_CLIENT,
    ),
    Suite(
        "js-rest",
        _JS,
        "packages/js-client-rest",
        (),
    ),
    Suite("js-grpc", _JS, "packages/js-client-grpc", ()),
)

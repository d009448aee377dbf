"""Everything a collection can be asked, and whether the answers are true.

``Expected`` knows the true answers of one state from the oracle. Of an undamaged database it also
has the answers as they came, once they were compared with the oracle: after that, equal means
true, and a comparison costs next to nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from proofs.model.multi import MANY
from proofs.model.oracle import Oracle
from proofs.model.sparse import MODIFIERS, given
from vecdb import ids
from vecdb.engine.read.answer import public_scores
from vecdb.engine.read.segment.multi_query import MultiQuery
from vecdb.engine.read.segment.token_codes import scores_by_codes
from vecdb.engine.view import live_rows
from vecdb.errors import CorruptionError, VecdbError

EVERYTHING = 1000
"""A limit above the number of points: searches that return all of them show every score."""

FILTERS: list[dict[str, Any]] = [
    {"must": [{"key": "place", "match": {"value": 1}}]},
    {"must_not": [{"key": "n", "range": {"gte": 10, "lt": 45}}]},
    {"must": [{"is_empty": {"key": "set"}}], "must_not": [{"has_id": [8, 16, 23]}]},
]
EXACT = {"exact": True}
RESCORED = {"hnsw_ef": EVERYTHING, "quantization": {"rescore": True, "oversampling": 100.0}}
"""Exact, too: every partition is visited, and originals decide about all rows."""
CODES = {"quantization": {"rescore": False}}

ERRORS = {"codes": np.inf, "codes of few": np.inf, "by default": 1e-9}
"""How far a score may be from the truth. Unless it is 0, points may be missed, too."""

BRIEF = ("info", "scroll", "search '' exact", "search 'a' exact")
"""What is asked of collections that are not the damaged one, beside all codes."""

Ask = Callable[[Any], Any]


class Question:
    """One call, and how its answer is compared with the oracle."""

    def __init__(self, label: str, ask: Ask, check: Callable[[Any, Oracle], str | None]) -> None:
        self.label, self.ask, self.check = label, ask, check
        self.codes = False
        """The scores are those of the codes: exact, or what the codes say."""


def questions(oracle: Oracle) -> list[Question]:
    """All of them, for a collection of these vectors."""
    return [*_plain(), *_filtered(oracle), *_searches(oracle)]


def _plain() -> Iterator[Question]:
    yield Question(
        "count", lambda c: c.count().count, lambda found, oracle: _equal(found, len(oracle.points))
    )
    yield Question(
        "info",
        lambda c: (c.info().points_count, c.info().vectors_count),
        lambda found, oracle: _equal(
            found, (len(oracle.points), sum(len(p.vectors) for p in oracle.points.values()))
        ),
    )
    yield Question(
        "scroll", lambda c: c.scroll(limit=EVERYTHING, with_vectors=True), _scroll_difference
    )
    wanted = [16, 8, 999_999, 23, 41, 60]
    yield Question(
        "retrieve",
        lambda c: c.retrieve(wanted, with_vectors=True),
        lambda found, oracle: _records_difference(
            found, [i for i in wanted if i in oracle.points], oracle
        ),
    )


def _filtered(oracle: Oracle) -> Iterator[Question]:
    named: list[dict[str, Any]] = [
        {"must": [{"has_vector": name}]} for name in oracle.vectors if name
    ]
    for filter in [*FILTERS, *named]:
        yield Question(
            f"count {filter}",
            lambda c, f=filter: c.count(f).count,  # type: ignore[misc]
            lambda found, oracle, f=filter: _equal(  # type: ignore[misc]
                found, len(oracle.matching(f))
            ),
        )
    yield Question(
        "scroll with a filter",
        lambda c: c.scroll(FILTERS[0], limit=EVERYTHING, with_vectors=True),
        lambda found, oracle: _records_difference(found[0], oracle.matching(FILTERS[0]), oracle),
    )


def _searches(oracle: Oracle) -> Iterator[Question]:
    for name, kind in oracle.vectors.items():
        query = query_of(name, kind)
        for label, params, filter, limit in (
            ("exact", EXACT, None, EVERYTHING),
            ("exact with a filter", EXACT, FILTERS[1], 5),
            ("rescored", RESCORED, None, 10),
            ("rescored with a filter", RESCORED, FILTERS[0], EVERYTHING),
            ("codes", CODES, None, EVERYTHING),
            ("codes of few", CODES, None, 10),
            ("by default", None, None, 10),
        ):
            error = ERRORS.get(label, 0.0)
            question = Question(
                f"search {name!r} {label}",
                lambda c, q=(name, query), p=params, f=filter, n=limit: c.search(  # type: ignore[misc]
                    q, f, p, limit=n, with_payload=f is not None
                ),
                lambda hits, oracle, q=(name, query), f=filter, n=limit, e=error: (  # type: ignore[misc]
                    oracle.search_difference(hits, *q, n, f, error=e)
                ),
            )
            question.codes = label.startswith("codes")
            yield question


def query_of(name: str, kind: tuple[int, str]) -> Any:
    """What every search by a vector name looks for; ``kind``: its dimension and distance."""
    dim, distance = kind
    query = np.random.default_rng([dim, len(name)]).standard_normal(dim).astype(np.float32)
    if distance in MANY:
        return np.stack([query, -query, query[::-1]])
    return given(query) if distance in MODIFIERS else query


def _scores_by_codes(collection: Any, name: str, query: Any) -> dict[Any, float]:
    """Every row's score, read past all that chooses which rows are scored by what."""
    store = collection._store
    vector = store.schema[name]
    if vector.distance == "Cosine":
        query = query / np.linalg.norm(query, axis=-1, keepdims=True)
    found: dict[Any, float] = {}
    for segment_view in store.view.segments:
        quantized = getattr(segment_view.segment, "quantized", {}).get(name)
        if quantized is None:
            continue
        rows = live_rows(segment_view.alive, segment_view.segment.rows)
        if vector.is_multi:
            offsets = segment_view.segment.multivectors(name).offsets
            rows = rows[offsets[rows + 1] > offsets[rows]]
            scores = scores_by_codes(quantized, offsets, rows, MultiQuery(vector.metric, query))
        else:
            shape = quantized.quantizer.codes_shape(segment_view.segment.rows)
            codes = quantized.codes.verify().reshape(shape)
            scores = quantized.quantizer.prepare(query).score_rows(codes, rows)
        keys = [ids.external(segment_view.segment.key(row)) for row in rows.tolist()]
        found |= dict(zip(keys, public_scores(vector.metric, scores.tolist()), strict=True))
    return found


def _equal(found: Any, expected: Any) -> str | None:
    return None if found == expected else f"{found}, not {expected}"


def _scroll_difference(found: Any, oracle: Oracle) -> str | None:
    if found[1] is not None:
        return f"goes on at {found[1]!r}"
    return _records_difference(found[0], oracle.ids(), oracle)


def _records_difference(records: Any, wanted: list[Any], oracle: Oracle) -> str | None:
    found = [record.id for record in records]
    if found != wanted:
        return f"ids {found}, not {wanted}"
    return next(filter(None, map(oracle.record_difference, records)), None)


class Expected:
    """The true answers of one state of one collection."""

    def __init__(self, oracle: Oracle, config: dict[str, Any]) -> None:
        self.oracle = oracle
        self.config = config
        self.questions = questions(oracle)
        self.brief = [q for q in self.questions if q.label in BRIEF or q.codes]
        self.answers: dict[str, Any] = {}
        self.known_config: Any = None
        self.versions: dict[Any, int] = {}
        self.code_scores: dict[str, dict[Any, float]] = {}
        """Of each vector name what the codes of every point say, where it has any."""

    def learn(self, collection: Any) -> None:
        """Take the answers of an undamaged collection. Raises AssertionError if one is wrong."""
        assert not self.wrong_config(collection)
        self.known_config = collection.info().config
        for question in self.questions:
            answer = question.ask(collection)
            problem = question.check(answer, self.oracle)
            assert problem is None, f"{question.label}: {problem}"
            self.answers[question.label] = answer
        for name, kind in self.oracle.vectors.items():
            self.code_scores[name] = _scores_by_codes(collection, name, query_of(name, kind))
        for question in self.questions:
            if question.label.endswith("exact"):
                self.versions |= {hit.id: hit.version for hit in self.answers[question.label]}

    def wrong(self, question: Question, answer: Any, *, rebuilt: bool = False) -> str | None:
        """What is wrong with an answer. ``rebuilt``: codes may have been made anew."""
        known = self.answers.get(question.label)
        if known is not None and answer == known:
            return None
        problem = question.check(answer, self.oracle)
        if problem is None and question.codes and known is not None and not rebuilt:
            problem = self._code_scores(question, answer)
        if problem is None and question.label.startswith("search") and self.versions:
            old = [hit.id for hit in answer if hit.version != self.versions[hit.id]]
            problem = f"versions of {old} are not theirs" if old else None
        return problem

    def wrong_config(self, collection: Any) -> list[str]:
        """Settings that are not those that were asked for."""
        config = collection.info().config
        if self.known_config is not None:
            known = config == self.known_config
            return [] if known else [f"configuration: {config}, not {self.known_config}"]
        found = config.optimizer_config
        return [
            f"configuration: {key} is {getattr(found, key)}, not {value}"
            for key, value in self.config.items()
            if getattr(found, key) != value
        ]

    def _code_scores(self, question: Question, answer: Any) -> str | None:
        """Without its codes a segment answers exactly: a score is that of the codes or the true
        one, and nothing else."""
        name = question.label.split("'")[1]
        exact = {hit.id: hit.score for hit in self.answers[f"search {name!r} exact"]}
        codes = self.code_scores[name]
        for hit in answer:
            true = [exact[hit.id], codes.get(hit.id, np.nan)]
            if not np.isclose(true, hit.score, rtol=1e-5).any():
                return f"score {hit.score} of {hit.id!r}: neither exact nor of its code"
        return None


def ask_all(
    collection: Any, expected: Expected, *, brief: bool = False, rebuilt: bool = False
) -> tuple[list[str], list[str]]:
    """Every question: (errors that name damage, wrong answers and other errors)."""
    errors, wrong = [], []
    if not rebuilt:
        wrong += expected.wrong_config(collection)
    for question in expected.brief if brief else expected.questions:
        try:
            answer = question.ask(collection)
        except CorruptionError as error:
            errors.append(str(error))
        except VecdbError as error:
            wrong.append(f"{question.label}: {type(error).__name__}: {error}")
        except Exception as error:
            wrong.append(f"{question.label}: {type(error).__name__}: {error}")
        else:
            problem = expected.wrong(question, answer, rebuilt=rebuilt)
            if problem is not None:
                wrong.append(f"{question.label}: {problem}")
    return errors, wrong

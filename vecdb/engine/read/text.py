"""Text: points by how well the texts of a field fit a text, by BM25.

A text index says what the tokens are. All texts that a point has in the field are one document; of
a ``nested`` index those in one object of an array are, and a point ranks by the best of its own.

What is known of every live document comes first, whatever the filter: how long it is, which of the
tokens it has, and how often. Columns tell, or else payloads are read and taken apart. Then the
documents of the corpus are counted, and those of the points that match are scored.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from msgspec import Struct

from vecdb import models
from vecdb.bm25 import rarity, saturated
from vecdb.engine.read import masks
from vecdb.engine.read.asked import Asked
from vecdb.engine.read.columns import answered_by_columns
from vecdb.engine.read.merge import Hits, explainer, merged_hits
from vecdb.engine.read.plan import Relevant
from vecdb.engine.read.reader import condition
from vecdb.engine.read.rows import decoded, in_pieces
from vecdb.engine.view import Offsets, SegmentView, View
from vecdb.errors import InvalidInputError
from vecdb.payload.columns import Occurrences, canonical, counts_tokens
from vecdb.payload.encoding import field_decoder
from vecdb.payload.fields import documents_of, text_indexes
from vecdb.payload.paths import parse_path
from vecdb.payload.texts import BREAK, ranking_tokenizer, tokenizer
from vecdb.storage.catalog import Bits
from vecdb.storage.format import unpack_bits

Doubles = npt.NDArray[np.float64]

_K, _B = 1.2, 0.75
_DIGITS = 13
"""Of the length of a document so many bits count, as in Qdrant."""


def text(view: View, query: models.TextQuery, asked: Asked) -> Relevant:
    """The plan of a query by a text. Raises InvalidInputError."""
    field, index = _ranking_index(view, asked)
    given = query.text if isinstance(query.text, str) else query.text.query
    scoring = None if isinstance(query.text, str) else query.text.scoring
    numbers = models.Bm25Params() if scoring is None else scoring.bm25
    corpus = None
    if isinstance(asked.params.idf, models.IdfCorpusParams):
        what = f"{asked.where}{'params' if asked.where else 'search_params'}.idf.corpus"
        corpus = condition(asked.params.idf.corpus, what, view)
    return Relevant(
        field=field,
        index=index,
        tokens=[t for t in dict.fromkeys(ranking_tokenizer(index)(given)) if t != BREAK],
        k=_K if numbers.k is None else numbers.k,
        b=_B if numbers.b is None else numbers.b,
        corpus=corpus,
        condition=asked.condition,
        limit=asked.limit,
        offset=asked.offset,
        wanted=asked.wanted,
        threshold=asked.threshold,
    )


def _ranking_index(view: View, asked: Asked) -> tuple[str, models.TextIndexParams]:
    """The field that is asked for, in its canonical spelling, and its text index."""
    using, what = asked.using, f"{asked.where}using"
    if not isinstance(using, str):
        raise InvalidInputError(
            f"{what}: expected the field of the payload that a text is looked for in, got "
            f"{using!r:.60}"
        )
    index = text_indexes(view.config.payload_schema).get(tuple(parse_path(using, what)))
    if index is None or not index.scoring:
        came = "one without" if index is not None else "none"
        raise InvalidInputError(
            f"{what}: expected a field with a text index that has scoring=True, got {using!r:.60}, "
            f"which has {came}"
        )
    return canonical(using), index


class _Documents(Struct):
    """Documents of one segment: how long each is, and which has each of the tokens, how often.
    ``rows``: whose each is; None: the first is of the first row, …"""

    occurrences: Occurrences
    rows: Offsets | None = None

    def of(self, bits: Bits, count: int) -> npt.NDArray[np.bool_]:
        """Which of them are of one of some rows."""
        flags = np.zeros(max(count, len(self.occurrences.lengths)), dtype=np.bool_)
        flags[:count] = unpack_bits(bits, count)
        return flags[: len(self.occurrences.lengths)] if self.rows is None else flags[self.rows]


def relevant(
    view: View, plan: Relevant, explained: list[models.SegmentSearch] | None = None
) -> Hits:
    """The page of a plan."""
    if not plan.tokens:
        return Hits([], [])
    segments = [(each, _documents(view, each, plan)) for each in view.segments if each.live]
    rarities, average = _corpus(view, plan, segments)
    results = []
    count = plan.offset + plan.limit
    for segment_view, several in segments:
        explain = None if explained is None else explainer(segment_view, explained)
        allowed = masks.that_match(view, segment_view, plan.condition, explain)
        scores, rows = _scored(plan, several, allowed, segment_view.rows, rarities, average)
        if explain is not None:
            read = sum(len(each.rows) for each in several if each.rows is not None)
            why = f"{plan.field}: {f'{read} payloads read' if read else 'column'}"
            explain(models.SearchStage("text", len(rows), min(count, len(rows)), why))
        results.append((segment_view, _best(scores, rows, count)))
    return merged_hits(results, count).between(plan.offset, count)


def _corpus(
    view: View, plan: Relevant, segments: Sequence[tuple[SegmentView, list[_Documents]]]
) -> tuple[Doubles, float]:
    """How much each token counts, and how long a document is on the average."""
    documents = length = 0
    having = np.zeros(len(plan.tokens), dtype=np.int64)
    for segment_view, several in segments:
        bits = masks.that_match(view, segment_view, plan.corpus)
        for each in several:
            of_corpus = each.of(bits, segment_view.rows)
            lengths = each.occurrences.lengths
            documents += int(np.count_nonzero(of_corpus & (lengths > 0)))
            length += int(_rounded(lengths).sum(where=of_corpus, dtype=np.int64))
            for number, (at, _) in enumerate(each.occurrences.having):
                having[number] += np.count_nonzero(of_corpus[at])
    # Where no document is in the corpus, each is as long as any.
    return rarity(documents, having), length / documents if documents else 0.0


def _scored(
    plan: Relevant,
    several: Sequence[_Documents],
    allowed: Bits,
    count: int,
    rarities: Doubles,
    average: float,
) -> tuple[npt.NDArray[np.float32], Offsets]:
    """The allowed rows of a segment that have any of the tokens, and their scores."""
    best = np.zeros(count, dtype=np.float64)
    for each in several:
        kept, lengths = each.of(allowed, count), each.occurrences.lengths
        scores = np.zeros(len(lengths), dtype=np.float64)
        for (at, times), rare in zip(each.occurrences.having, rarities.tolist(), strict=True):
            here = kept[at]
            at, times = at[here], times[here]
            relative = _rounded(lengths[at]) / average if average else np.ones(len(at))
            norms = 1 - plan.b + plan.b * relative
            scores[at] += rare * saturated(times.astype(np.float64), norms, plan.k)
        found = np.flatnonzero(scores)
        rows = found if each.rows is None else each.rows[found]
        np.maximum.at(best, rows, scores[found])
    rows = np.flatnonzero(best)
    narrow = best[rows].astype(np.float32)
    if plan.threshold is not None:
        passing = narrow > plan.threshold
        narrow, rows = narrow[passing], rows[passing]
    return narrow, rows


def _best(
    scores: npt.NDArray[np.float32], rows: Offsets, count: int
) -> tuple[npt.NDArray[np.float32], Offsets]:
    """The first so many rows by their scores, of equal ones those that stand first."""
    if count < len(rows):
        enough = scores >= np.partition(scores, len(rows) - count)[len(rows) - count]
        scores, rows = scores[enough], rows[enough]
    order = np.lexsort((rows, -scores))[:count]
    return scores[order], rows[order]


def _rounded(lengths: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Lengths by their first digits."""
    if int(lengths.max(initial=0)) < 1 << _DIGITS:
        return lengths
    lost = np.maximum(np.frexp(lengths.astype(np.float64))[1] - _DIGITS, 0)
    rounded: npt.NDArray[Any] = lengths.astype(np.int64) >> lost << lost
    return rounded


# -- documents -------------------------------------------------------------------------------------


def _documents(view: View, segment_view: SegmentView, plan: Relevant) -> list[_Documents]:
    """All documents of the live rows. Raises CorruptionError."""
    live = masks.that_match(view, segment_view, None)
    if not counts_tokens(plan.index):
        rows = unpack_bits(live, segment_view.rows)
        return [_of_payloads(segment_view, np.flatnonzero(rows), plan)]
    told, left = answered_by_columns(
        view,
        segment_view,
        plan.field,
        live,
        lambda column, mask: _among(column.occurrences(plan.tokens, plan.index), mask),
        texts=True,
    )
    found = [_Documents(_first(each, rows), rows) for each, rows in told]
    return [*found, _of_payloads(segment_view, left, plan)] if len(left) else found


def _among(occurrences: Occurrences | None, mask: Bits) -> Occurrences:
    """What a column tells of the documents of a mask: the others have no length and no token."""
    assert occurrences is not None  # it is of this index, or it would not be asked
    flags = unpack_bits(mask, len(occurrences.lengths))
    having = [(at[flags[at]], times[flags[at]]) for at, times in occurrences.having]
    return Occurrences(np.where(flags, occurrences.lengths, 0), having)


def _first(occurrences: Occurrences, rows: Offsets | None) -> Occurrences:
    """Those of the first documents, which are of some rows: a column may know later edits, too."""
    if rows is None:
        return occurrences
    return occurrences._replace(lengths=occurrences.lengths[: len(rows)])


def _of_payloads(segment_view: SegmentView, rows: Offsets, plan: Relevant) -> _Documents:
    """The documents of some rows, read."""
    path = parse_path(plan.field)
    decode, documents = field_decoder(str(path[0])), documents_of(path, plan.index)
    tokens, numbers = tokenizer(plan.index), {token: n for n, token in enumerate(plan.tokens)}
    owners: list[int] = []
    lengths: list[int] = []
    at: list[list[int]] = [[] for _ in plan.tokens]
    times: list[list[int]] = [[] for _ in plan.tokens]
    for some in in_pieces(rows):
        for row, data in zip(some.tolist(), segment_view.payloads(some), strict=True):
            for texts in documents(decoded(segment_view, row, data, decode)):
                found = Counter(token for each in texts for token in tokens(each))
                found.pop(BREAK, None)
                for token in found.keys() & numbers.keys():
                    at[numbers[token]].append(len(owners))
                    times[numbers[token]].append(found[token])
                owners.append(row)
                lengths.append(sum(found.values()))
    having = [
        (np.array(a, dtype=np.int64), np.array(t, dtype=np.int64))
        for a, t in zip(at, times, strict=True)
    ]
    return _Documents(Occurrences(np.array(lengths, np.int64), having), np.array(owners, np.int64))

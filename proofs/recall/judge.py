"""Judge: what the answers to one asking are worth, and what is wrong with them.

recall    fewer of the true neighbours than what was asked for, less 0.01; where queries share most
          of theirs, less what chance does to one or two
less      fewer than where less was asked for, less 0.005 of the same queries
score     a score that is not the row's, where originals have the last word
order     results are not in order of their scores
twice     a row more than once among the results, or on two pages
few       fewer results than there are rows
stranger  a row that is deleted, that the filter excludes, or that was never stored
note      an explanation that is none, or tells of fewer rows than were scored; a warning
work      all originals are scanned, where they are not without a few rows that are special
error     nothing came back but an exception, or the collection is not as configured
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from proofs.recall.cells import Asking, Place, less_of
from proofs.recall.measure import Answers
from proofs.recall.truth import Mask, Truth

SLACK = 0.01
"""A recall may be below what was asked for by so much."""
_SLACK_OF_ALL = 0.0005
"""And where all was asked for."""
_ALIKE = 2.0
"""Queries that share true neighbours miss the same ones by chance, and are worth fewer that share
none. If all are worth less than two, their mean is judged as that of so few."""
_CHANCE = 2.0
"""So many standard deviations of one query's share are chance."""
_LESS = 0.005
_DOUBTS = 2.0
"""A mean within so many standard errors of what decides is measured with more queries."""

Shares = npt.NDArray[np.float64]


@dataclass
class Cell:
    """One asking of one place: what was promised, what was found, by what work, what is wrong."""

    place: Place
    asking: Asking
    queries: int = 0
    recall: float = 0.0
    error: float = 0.0
    """The standard error of the recall."""
    worst: float = 0.0
    """Of any query."""
    work: dict[str, float] = field(default_factory=dict)
    """Rows scored by sketches, codes, originals, in the mean; ``whole``: the share of queries that
    scanned all originals of a file; ``p50``: microseconds."""
    alike: bool = False
    """Whether all queries are worth less than two."""
    wrong: list[str] = field(default_factory=list)

    @property
    def margin(self) -> float | None:
        """By how much the recall is above what was asked for."""
        target = self.asking.target
        return None if target is None else self.recall - target

    def as_json(self) -> dict[str, Any]:
        place = asdict(self.place)
        del place["group"], place["more"]
        numbers = {
            "target": self.asking.target,
            "recall": round(self.recall, 5),
            "error": round(self.error, 5),
            "worst": round(self.worst, 5),
            "queries": self.queries,
            "alike": self.alike,
            "work": {name: round(value, 3) for name, value in self.work.items()},
        }
        return {**place, "asked": self.asking.name, **numbers, "wrong": self.wrong}


def shares(answers: Answers, truth: Truth, mask: Mask, asking: Asking) -> Shares:
    """The share of the true neighbours that each query found, by score: ``float64 (q,)``."""
    count, wanted = len(answers.ids), _wanted(answers, mask)
    if not wanted:
        return np.ones(count)
    bars, _ = truth.bars(mask, count, wanted)
    good = _known(answers.ids, mask) & ~_repeated(answers.ids)
    good &= truth.scores(np.where(good, answers.ids, 0)) >= bars[:, None]
    found: Shares = np.minimum(good.sum(axis=1), wanted) / wanted
    return found


def judge(
    place: Place, found: dict[Asking, Answers], truth: Truth, masks: dict[str, Mask]
) -> tuple[list[Cell], list[Asking]]:
    """A cell for each asking, and the askings that take more queries to be sure of."""
    cells, doubtful = {}, set()
    each = {a: shares(answers, truth, masks[a.filtered], a) for a, answers in found.items()}
    for asking, answers in found.items():
        cell = _cell(place, asking, answers, each[asking])
        cell.wrong = [*_defects(answers, truth, masks[asking.filtered], asking), *answers.notes]
        cells[asking] = cell
        target = asking.target
        if target is None:
            continue
        least = target - (_SLACK_OF_ALL if target == 1 else SLACK)
        worth = _worth(answers, truth, masks[asking.filtered])
        cell.alike = worth < _ALIKE
        if cell.alike:
            results = max(1, _wanted(answers, masks[asking.filtered]))
            least -= _CHANCE * (target * (1 - target) / (results * worth)) ** 0.5
        if cell.recall < least:
            cell.wrong.append(f"recall: {cell.recall:.3f}, asked for {target:g}")
        if abs(cell.recall - least) < _DOUBTS * cell.error:
            doubtful.add(asking)
    for more, less in _compared(found):
        count = min(len(each[more]), len(each[less]))
        difference = each[more][:count] - each[less][:count]
        if difference.mean() < -_LESS:
            by = f"{each[more][:count].mean():.3f}, but {each[less][:count].mean():.3f}"
            cells[more].wrong.append(f"less: {by} for {less.name}")
        if abs(difference.mean() + _LESS) < _DOUBTS * difference.std() / count**0.5:
            doubtful |= {more, less}
    return list(cells.values()), sorted(doubtful, key=list(found).index)


def _cell(place: Place, asking: Asking, answers: Answers, share: Shares) -> Cell:
    work = {by: float(rows.mean()) for by, rows in answers.work.items()}
    work["whole"] = float(answers.whole.mean())
    work["p50"] = float(np.median(answers.micros))
    error = float(share.std() / len(share) ** 0.5)
    return Cell(place, asking, len(share), float(share.mean()), error, float(share.min()), work)


def _wanted(answers: Answers, mask: Mask) -> int:
    """How many true neighbours each query has to find."""
    return int(min(answers.ids.shape[1], mask.sum()))


def _worth(answers: Answers, truth: Truth, mask: Mask) -> float:
    """How many queries that share no true neighbour these are worth."""
    count, wanted = len(answers.ids), _wanted(answers, mask)
    if not wanted or count < 2:
        return float(count)
    _, times = np.unique(truth.nearest(mask, count, wanted), return_counts=True)
    shared = float((times * (times - 1.0)).sum()) / (wanted * count * (count - 1))
    return float(1.0 / max(shared, 1.0 / count))


def _compared(found: dict[Asking, Answers]) -> list[tuple[Asking, Asking]]:
    """Which asks for more than which. A number of candidates is more than a recall if it is more
    than any query took for that, and none took all rows."""
    pairs = [(more, less) for more in found for less in less_of(more) if less in found]
    plain = Asking()
    if plain in found and found[plain].candidates.any() and not found[plain].whole.any():
        took = int(found[plain].candidates.max())
        pairs += [(a, plain) for a in found if _candidates(a) >= took]
    return [(more, less) for more, less in pairs if more != less]


def _candidates(asking: Asking) -> int:
    alike = asking.k == Asking().k and not asking.filtered
    return (asking.hnsw_ef or 0) if alike else 0


def _defects(answers: Answers, truth: Truth, mask: Mask, asking: Asking) -> list[str]:
    """What no answer may have, however little was asked."""
    ids, scores = answers.ids, answers.scores
    there = ids >= 0
    wrong = []
    strangers = there & ~_known(ids, mask)
    if strangers.any():
        wrong.append(f"stranger: {int(strangers.sum())} results, id {ids[strangers][0]}")
    if _repeated(ids).any():
        wrong.append(f"twice: {int(_repeated(ids).sum())} results")
    missing = np.minimum(ids.shape[1], mask.sum()) - there.sum(axis=1)
    if missing.any():
        wrong.append(f"few: {int((missing > 0).sum())} queries have too few results")
    scored = answers.work["originals"]
    if asking.exact and not asking.batch and (scored != mask.sum() * asking.pages).any():
        wrong.append(f"note: explain tells of {scored.min()} of {mask.sum()} originals")
    downward = 1 if truth.metric in ("Cosine", "Dot") else -1
    if asking.pages == 1:
        disorder = np.diff(downward * scores, axis=1) > 0
        if disorder.any():
            wrong.append(f"order: {int(disorder.sum())} results are better than the one before")
    if asking.rescore and there.any():
        rows = np.where(there & ~strangers, ids, 0)
        true = truth.scores(rows)
        off = np.abs(downward * scores - true) - truth.score_error(true, rows)
        bad = there & ~strangers & ~(off <= 0)  # NaN is bad
        if bad.any():
            query, position = np.argwhere(bad)[0]
            came, is_ = downward * scores[query, position], true[query, position]
            wrong.append(f"score: {int(bad.sum())} results, {came:.9g} where {is_:.9g} is true")
    return wrong


def _known(ids: npt.NDArray[np.int64], mask: Mask) -> Mask:
    inside = (ids >= 0) & (ids < len(mask))
    known: Mask = inside & mask[np.where(inside, ids, 0)]
    return known


def _repeated(ids: npt.NDArray[np.int64]) -> Mask:
    """Which results are a row that stands further ahead already."""
    order = np.argsort(ids, axis=1, kind="stable")
    line = np.take_along_axis(ids, order, 1)
    again = np.zeros(ids.shape, dtype=np.bool_)
    again[:, 1:] = (line[:, 1:] == line[:, :-1]) & (line[:, 1:] >= 0)
    repeated = np.zeros(ids.shape, dtype=np.bool_)
    np.put_along_axis(repeated, order, again, 1)
    return repeated


def spoiled(cells: list[Cell], plain: dict[str, str]) -> list[Cell]:
    """Note ``work`` where a default search scans all originals, and does not without the rows that
    are special; those cells. ``plain`` names the generator of the same rows without them."""
    found = []
    usual = {c.place.generator + c.place.metric: c for c in cells if is_usual(c)}
    for cell in usual.values():
        without = usual.get(plain.get(cell.place.generator, "") + cell.place.metric)
        if without is not None and cell.work["whole"] > 0.5 > without.work["whole"]:
            cell.wrong.append(f"work: scans all originals, {without.place.generator} does not")
            found.append(cell)
    return found


def is_usual(cell: Cell) -> bool:
    """Whether it is a default search of a default collection that is large enough for an index."""
    kept = (cell.place.codes, cell.place.way, cell.place.storage)
    return kept == ("none", "index", "ram") and cell.asking == Asking() and bool(cell.work)

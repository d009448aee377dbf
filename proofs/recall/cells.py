"""What is tried: a `Place` is a collection and how it is kept, an `Asking` is one way to ask it.

A full plan has every generator with each of its metrics, kinds of codes, with and without an
index. What else there is to choose is spread over these so that each two choices meet somewhere
(`Cover`); so are codes in a quick plan.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import astuple, dataclass, replace
from typing import Any

from proofs.recall.generators import ALL, Generator

CODES: dict[str, dict[str, Any] | None] = {
    "none": None,
    "scalar": {"scalar": {"type": "int8"}},
    "binary": {"binary": {}},
    "turbo-4": {"turbo": {"bits": "bits4"}},
    "product-x16": {"product": {"compression": "x16"}},
    "product-x32": {"product": {"compression": "x32"}},
    "scalar-0.99": {"scalar": {"type": "int8", "quantile": 0.99}},
    "binary-2": {"binary": {"encoding": "two_bits"}},
    "binary-1.5": {"binary": {"encoding": "one_and_half_bits"}},
    "turbo-8": {"turbo": {"bits": "bits8"}},
    "product-x8": {"product": {"compression": "x8"}},
    "product-x64": {"product": {"compression": "x64"}},
}
_OFTEN, _SELDOM = list(CODES)[:6], list(CODES)[6:]

WAYS = ("index", "codes", "mixed", "second", "split", "memory")
"""``index``: one file with an index. ``codes``: one file without. ``mixed``: an index on most of
the rows, others in memory, some rows deleted near some queries and anywhere. ``second``: an index
on the second of two vectors, which some rows lack, and which stand in the first one's order.
``split``: three files with an index each. ``memory``: nothing in a file yet."""

STORAGES = ("ram", "mapped", "codes in ram")
DEFAULT_RECALL = 0.97


@dataclass(frozen=True)
class Place:
    """One collection: what is in it, how it is kept, and which of all askings it gets beside those
    that every one gets."""

    generator: str
    metric: str
    codes: str
    way: str
    storage: str
    group: str
    more: str

    @property
    def id(self) -> str:
        """As it is printed, and parsed."""
        return "/".join(astuple(self))

    @classmethod
    def parse(cls, text: str) -> Place:
        """The place with this id. Raises ValueError."""
        fields = text.split("/")
        known = (None, ALL, CODES, WAYS, STORAGES, GROUPS, MORE)
        if len(fields) != len(known):
            raise ValueError(text)
        for value, values in zip(fields, known, strict=True):
            if values is not None and value not in values:
                raise ValueError(value)
        return cls(*fields)


@dataclass(frozen=True)
class Asking:
    """One way to ask. ``recall`` None: what a collection has that says nothing."""

    k: int = 10
    recall: float | None = None
    filtered: str = ""
    """``tenth``: a filter that leaves so much, here and there. ``side``: one that leaves half, one
    side of the data. ``visit``: the same, tried by near partitions as if nearly all rows were left.
    ``deep``: by near partitions, as deep as half of the rows takes in a large collection."""
    oversampling: float | None = None
    hnsw_ef: int | None = None
    exact: bool = False
    ignore: bool = False
    rescore: bool = True
    pages: int = 1
    batch: bool = False

    @property
    def target(self) -> float | None:
        """The recall that is promised; None: none is."""
        if self.exact:
            return 1.0
        numbers = (self.hnsw_ef, None if self.recall else self.oversampling)
        if not self.rescore or any(numbers):  # which are obeyed, whatever they find
            return None
        return DEFAULT_RECALL if self.recall is None else self.recall

    @property
    def name(self) -> str:
        said = [f"k={self.k}"]
        said += [f"filter ({self.filtered})"] if self.filtered else []
        said += [] if self.recall is None else [f"recall={self.recall:g}"]
        said += [] if self.oversampling is None else [f"oversampling={self.oversampling:g}"]
        said += [] if self.hnsw_ef is None else [f"hnsw_ef={self.hnsw_ef}"]
        for flag in ("exact", "ignore", "batch"):
            said += [flag] if getattr(self, flag) else []
        said += [] if self.rescore else ["rescore=False"]
        said += [f"{self.pages} pages"] if self.pages > 1 else []
        return " ".join(said)

    @property
    def params(self) -> dict[str, Any] | None:
        """As a search takes them; None: nothing is said."""
        codes: dict[str, Any] = {}
        codes |= {} if self.oversampling is None else {"oversampling": self.oversampling}
        codes |= {"ignore": True} if self.ignore else {}
        codes |= {} if self.rescore else {"rescore": False}
        params: dict[str, Any] = {"quantization": codes} if codes else {}
        params |= {} if self.recall is None else {"recall": self.recall}
        params |= {} if self.hnsw_ef is None else {"hnsw_ef": self.hnsw_ef}
        params |= {"exact": True} if self.exact else {}
        return params or None


# Ten results from all rows are asked for in each collection; other groups of askings in some.
GROUPS: dict[str, Asking] = {
    "k=1": Asking(k=1),
    "k=50": Asking(k=50),
    "k=150": Asking(k=150),  # more than an index has a table for
    "filter": Asking(filtered="tenth"),
    "k=1 visit": Asking(k=1, filtered="visit"),
    "k=10 visit": Asking(k=10, filtered="visit"),
    "k=50 visit": Asking(k=50, filtered="visit"),
    "k=1 deep": Asking(k=1, filtered="deep"),
    "k=10 deep": Asking(k=10, filtered="deep"),
}
# What is said besides, in some collections: of a group, or of ten results from all rows.
MORE: dict[str, dict[str, Any]] = {
    "oversampling": {"oversampling": 4.0},
    "oversampling and recall": {"oversampling": 2.0, "recall": 0.99},
    "ignore": {"ignore": True},
    "pages": {"pages": 2},
    "batch": {"batch": True},
    "rescore": {"rescore": False},
    "ef": {"hnsw_ef": 300},
}


def askings(place: Place) -> list[Asking]:
    """All that one collection is asked, from less to more."""
    ten = Asking()
    wanted = [
        replace(ten, recall=0.9),
        ten,
        replace(ten, recall=0.99),
        replace(ten, recall=1.0),
        replace(ten, exact=True),
        replace(ten, oversampling=2.0),
        replace(ten, oversampling=8.0),
        replace(ten, hnsw_ef=100),
        replace(ten, hnsw_ef=1000),
    ]
    group = GROUPS[place.group]
    wanted += [replace(group, recall=0.9), group, replace(group, recall=0.99)]
    if group.filtered in ("visit", "deep"):
        wanted += [replace(each, filtered="side") for each in wanted[-3:]]
    wanted += [replace(base, **MORE[place.more]) for base in (ten, group)]
    return list(dict.fromkeys(wanted))


def less_of(asking: Asking) -> Iterator[Asking]:
    """The askings that an asking wants more than, each in one respect."""
    plain = replace(asking, recall=None, oversampling=None, hnsw_ef=None, exact=False, batch=False)
    if asking.exact:
        yield replace(plain, recall=1.0)
        yield plain
    elif asking.hnsw_ef is not None:
        for ef in (100, 300):
            if ef < asking.hnsw_ef:
                yield replace(asking, hnsw_ef=ef)
    elif asking.oversampling is not None:
        if asking.recall is not None:
            yield replace(plain, recall=asking.recall)
        if asking.oversampling > 2:
            yield replace(asking, oversampling=2.0)
    elif asking.batch:  # not more, but the same
        yield plain
    elif asking.recall is None or asking.recall > DEFAULT_RECALL:
        yield replace(plain, recall=0.9)
        if asking.recall is not None:
            yield plain
        if asking.recall == 1.0:
            yield replace(plain, recall=0.99)


# -- plans -------------------------------------------------------------------------------------


class Cover:
    """Picks a value of each factor so that each two values, of picked and given factors, meet
    soon, and all about equally often."""

    def __init__(self, **factors: Sequence[str]) -> None:
        self._factors = factors
        self._met: Counter[frozenset[tuple[str, str]]] = Counter()
        self._picks = 0

    def pick(self, given: dict[str, str], **among: Sequence[str]) -> dict[str, str]:
        """One value of each factor; of some factors from ``among`` fewer."""
        known = dict(given)
        self._picks += 1
        for factor, values in self._factors.items():
            values = among.get(factor, values)
            # Of values that are as good, another one each time.
            start = self._picks % len(values)
            turned = [*values[start:], *values[:start]]
            best = max(turned, key=lambda value: self._worth(known, factor, value))
            self._met.update(_pairs(known, factor, best))
            known[factor] = best
        return {factor: known[factor] for factor in self._factors}

    def _worth(self, known: dict[str, str], factor: str, value: str) -> float:
        return sum(1.0 / (1 + self._met[pair]) ** 2 for pair in _pairs(known, factor, value))


def _pairs(known: dict[str, str], factor: str, value: str) -> list[frozenset[tuple[str, str]]]:
    return [frozenset((other, (factor, value))) for other in known.items()]


def plan(generators: Iterable[Generator], *, quick: bool) -> list[Place]:
    """All collections that are tried, in the order of their data. Those of a generator depend on
    the ones before it only, so that a part of the plan is what all of it has."""
    rest = Cover(storage=STORAGES, group=list(GROUPS), more=list(MORE))
    coded = Cover(way=WAYS[:5], codes=list(CODES))
    places: list[Place] = []
    for generator in generators:
        for metric in generator.metrics:
            given = {"generator": generator.name, "metric": metric}
            forms = [{"codes": "none", "way": "index"}]
            if quick:
                forms += [coded.pick(given)]
            else:
                forms += [{"codes": c, "way": w} for c in _OFTEN for w in ("index", "codes")]
                forms += [coded.pick(given, way=[w], codes=_SELDOM) for w in ("index", "codes")]
                forms += [coded.pick(given, way=["mixed", "second", "split"])]
                forms += [{"codes": "none", "way": "memory"}, {"codes": "none", "way": "mixed"}]
            for number, form in enumerate(forms):
                among = {} if number else {"storage": ["ram"]}  # first what is made by default
                places.append(Place(**given, **form, **rest.pick(given | form, **among)))
    return places

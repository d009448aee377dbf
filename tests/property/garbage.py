"""Bytes and values gone bad, from one seed; and what a decoder may do with them."""

from __future__ import annotations

import copy
import tracemalloc
from collections import Counter
from collections.abc import Callable
from random import Random
from typing import Any

from hypothesis import note, settings

from proofs.model.oracle import SCALE

MUTATIONS = 20  # of each example
FIXED_MEMORY = 4 << 20  # whatever the input; the largest is a quantizer of 65 536 dimensions
GROWTH = 120  # bytes of objects for a byte of msgpack, and what else is made of them

TRIED: Counter[str] = Counter()


def report() -> None:
    """Print how many inputs there have been."""
    print(f"\n{sum(TRIED.values())} inputs tried: {dict(TRIED)}")
    TRIED.clear()


def runs(examples: int) -> settings:
    return settings(max_examples=examples * SCALE)


def attempt(
    name: str,
    decode: Callable[[Any], Any],
    data: Any,
    errors: tuple[type[Exception], ...],
    fixed: int = FIXED_MEMORY,
) -> Any:
    """What ``decode`` makes of ``data``; None if it is refused. Fails for any other error, and for
    more memory than ``data`` can justify."""
    TRIED[name] += 1
    tracemalloc.start()
    try:
        return decode(data)
    except errors:
        return None
    except BaseException:
        note(f"{name}: {data!r}")
        raise
    finally:
        used = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        size = len(data) if isinstance(data, bytes) else 0
        assert used <= fixed + GROWTH * size, f"{name}: {used} bytes for {data!r:.500}"


# -- how bytes and values go bad -------------------------------------------------------------------

EXTREMES = sorted(
    {0, 1, 0x7F, 0x80, 0xFF, *(1 << n for n in (16, 20, 22, 28, 31, 32, 40, 62, 63))}
    | {(1 << n) - 1 for n in (15, 16, 20, 31, 32, 40, 62, 63, 64)}
)


def damaged(rng: Random, data: bytes, others: list[bytes]) -> bytes:
    """A copy of ``data`` with up to four things wrong."""
    out = bytearray(data)
    for _ in range(rng.randint(1, 4)):
        at = rng.randrange(len(out) + 1)
        end = min(len(out), at + rng.choice((1, 2, 4, 8, 8, 16, 100)))
        match rng.randrange(9):
            case 0 if at < len(out):
                out[at] ^= 1 << rng.randrange(8)
            case 1 if at < len(out):
                out[at] = rng.randrange(256)
            case 2:
                del out[at:]
            case 3:
                del out[at:end]
            case 4:
                out[at:at] = rng.randbytes(rng.choice((1, 7, 8, 64)))
            case 5:
                out[at:at] = out[at:end]
            case 6:
                other = rng.choice(others)
                start = rng.randrange(len(other) + 1)
                out[at:end] = other[start : start + rng.choice((8, 64, 1000))]
            case _:  # a number of some width, more often at a place where numbers are
                width = rng.choice((1, 2, 4, 8))
                at = at // 8 * 8 if rng.random() < 0.7 else at
                order = rng.choice(("little", "big"))
                value = rng.choice(EXTREMES) & ((1 << 8 * width) - 1)
                if at + width <= len(out):
                    out[at : at + width] = value.to_bytes(width, order)
    return bytes(out)


# fmt: off
ODD: list[Any] = [
    None, True, False, *EXTREMES, -1, -(1 << 63), 10**12, 1.5, -0.0, float("nan"), float("inf"),
    1e300, "", "x", "\0", "../../x", "é" * 100, "a.b[0][]", "[", [], {}, [[]], [None], [1, 2],
    [["", 1]], [["", -1]], [["x", 4]], {"": None}, {"kind": "scalar"}, {"size": 4}, "scalar",
    "product", "Upsert", "EditVectors", "clear", "<f4", "<f8", "O", "f4,f4", ",", "V1000000000",
    "x" * 5000, list(range(300)),
]
# fmt: on


def garbled(rng: Random, value: Any) -> Any:
    """A copy of plain data with up to three parts replaced, removed, doubled or added."""
    root = [copy.deepcopy(value)]
    for _ in range(rng.randint(1, 3)):
        parent: Any = root
        while True:  # down to a random place
            keys = list(parent) if isinstance(parent, dict) else list(range(len(parent)))
            if not keys:
                break
            key = rng.choice(keys)
            child = parent[key]
            if isinstance(child, (dict, list)) and child and rng.random() < 0.8:
                parent = child
                continue
            choice = rng.random()
            if choice < 0.7 or parent is root:
                parent[key] = copy.deepcopy(rng.choice(ODD))
            elif choice < 0.8:
                del parent[key]
            elif isinstance(parent, list):
                parent.append(copy.deepcopy(child))
            else:
                parent[rng.choice(["", "x", "size", "id"])] = copy.deepcopy(rng.choice(ODD))
            break
    return root[0]

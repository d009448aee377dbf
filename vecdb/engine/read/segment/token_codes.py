"""MaxSim by codes: what multivectors score by the codes of their tokens.

Codes are of tokens, by the same quantizers as codes of rows. Those of a byte a number become
float32 again, some thousand at a time, for the kernel that scores originals: that takes less than
half of what scoring them token by token takes. Those of 4 bits are looked up, in the blocks of 32
in which they are stored, by each token of the query in turn.
"""

from __future__ import annotations

from functools import partial

import numpy as np
import numpy.typing as npt

from vecdb.engine.parallel import processors, run_all
from vecdb.engine.read.segment.kernels import metrics, score_maxsim
from vecdb.engine.read.segment.multi_query import MultiQuery
from vecdb.quantization import PreparedQuery, ScalarQuantizer
from vecdb.storage.derived import QuantizedVectors
from vecdb.vectors.ragged import in_pieces, offsets_of, taken

Bytes = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float32]
Offsets = npt.NDArray[np.int64]

_WIDENED = 1 << 11
"""Tokens that are float32 at a time: a megabyte, which stays in the processor's cache."""
_LOOKED_UP = 1 << 16
"""Tokens whose scores are kept at a time."""
_SHARED = 16 << 20
"""From so many products of numbers on, all processors score."""
_BLOCK = 32


def scores_by_codes(
    quantized: QuantizedVectors, offsets: Offsets, rows: Offsets, query: MultiQuery
) -> Floats:
    """The scores of some rows, which have a token each, ``float32 (n,)``. ``offsets``: where the
    tokens of each row of the segment begin. Raises CorruptionError."""
    quantizer, tokens = quantized.quantizer, int(offsets[-1])
    codes = quantized.codes.verify().reshape(quantizer.codes_shape(tokens))
    products = query.tokens.size * int((offsets[rows + 1] - offsets[rows]).sum())
    shares = processors() if products >= _SHARED else 1
    if isinstance(quantizer, ScalarQuantizer):
        score = partial(_widened, quantizer, codes, offsets, query)
    else:
        score = partial(_looked_up, [quantizer.prepare(t) for t in query.tokens], codes, offsets)
    return np.concatenate(run_all([partial(score, some) for some in np.array_split(rows, shares)]))


def _widened(
    quantizer: ScalarQuantizer, codes: Bytes, offsets: Offsets, query: MultiQuery, rows: Offsets
) -> Floats:
    """The scores by codes of a byte a number."""
    scores, done = np.empty(len(rows), dtype=np.float32), 0
    packed, room = query.packed(), query.room()
    for some in in_pieces(offsets, rows, _WIDENED):
        starts, (of_tokens,) = taken(offsets, (codes,), some)
        score_maxsim()(
            *(metrics()[query.metric], starts, quantizer.decode(of_tokens), packed),
            *(len(query.tokens), room, np.arange(len(some)), scores[done : done + len(some)]),
        )
        done += len(some)
    return scores


def _looked_up(
    prepared: list[PreparedQuery], codes: Bytes, offsets: Offsets, rows: Offsets
) -> Floats:
    """The scores by codes of 4 bits. ``prepared``: the tokens of the query."""
    scores = [np.empty(0, dtype=np.float64)]
    for some in in_pieces(offsets, rows, _LOOKED_UP):
        blocks = _blocks_of(offsets, some)
        starts, sizes = offsets[some], offsets[some + 1] - offsets[some]
        begins = _BLOCK * np.searchsorted(blocks, starts // _BLOCK) + starts % _BLOCK
        bounds = np.stack([begins, begins + sizes], axis=1).reshape(-1)
        copied = codes[blocks]
        total, count = np.zeros(len(some), dtype=np.float64), _BLOCK * len(blocks)
        for token in prepared:
            of_tokens = np.append(token.score_all(copied, count), np.float32(-np.inf))
            # From each start to its end, and what lies between, which does not count.
            total += np.fmax.reduceat(of_tokens, bounds)[::2]
        scores.append(total)
    found: Floats = np.concatenate(scores).astype(np.float32)
    return found


def _blocks_of(offsets: Offsets, rows: Offsets) -> Offsets:
    """The blocks that have tokens of some rows, rising."""
    first, last = offsets[rows] // _BLOCK, (offsets[rows + 1] - 1) // _BLOCK
    starts = offsets_of(last + 1 - first)
    every = np.arange(starts[-1]) + np.repeat(first - starts[:-1], np.diff(starts))
    return np.unique(every)

"""The codes of a vector name, written when a segment is built: of rows, or of tokens."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from vecdb import quantization
from vecdb.engine.optimize.indexing import Scorer, scorer_of
from vecdb.engine.optimize.meter import Cancelled, Meter
from vecdb.engine.schema import VectorSchema
from vecdb.storage.builder import SegmentBuilder
from vecdb.vectors.datatypes import bytes_per_vector
from vecdb.vectors.strays import strays_among

Floats = npt.NDArray[np.float32]
Offsets = npt.NDArray[np.int64]

_FEWEST = 256
"""A quantizer is fit to no fewer vectors, however little room there is."""
_OF_SAMPLE = 8
"""A sample, and the vectors that are encoded at once, take so small a part of a build's room:
fitting makes copies, and those of float64 are twice as large."""
_SAMPLE_SEED = 20_240_229  # builds are repeatable: same vectors, same codes


def quantize(builder: SegmentBuilder, vector: VectorSchema, meter: Meter, room: int) -> Scorer:
    """Write the codes of one vector name. Returns a function that scores its vectors by them.
    ``room``: bytes of memory that it may take."""
    codec = vector.codec
    assert codec is not None
    name = vector.name
    if vector.is_multi:
        written: npt.NDArray[Any] = builder.tokens(name)
        present = np.arange(len(written))
    else:
        written, present = builder.vectors(name), builder.rows_with(name)
    kind = quantization.QUANTIZERS[codec["kind"]]
    options = {key: value for key, value in codec.items() if key not in ("kind", "layout")}
    size = bytes_per_vector(vector.size)
    wanted = min(kind.sample_size(vector.size), max(_FEWEST, room // _OF_SAMPLE // size))
    try:
        quantizer = kind.fit(
            vector.compared(_sample(written, present, wanted)),
            vector.metric,
            cancelled=meter.cancelled,
            **options,
        )
    except InterruptedError:
        raise Cancelled from None

    def pieces() -> Iterator[Floats]:
        step = max(32, min(8 << 20, room // _OF_SAMPLE) // size // 32 * 32)
        for start in range(0, len(written), step):
            meter.poll()
            yield vector.compared(written[start : start + step])

    if isinstance(quantizer, quantization.ScalarQuantizer) and codec["quantile"] is None:
        for piece in pieces():
            quantizer.widen(piece)

    def codes() -> Iterator[npt.NDArray[np.uint8]]:
        errors, done = [np.empty(0, np.float32)], 0
        for piece in pieces():
            yield quantizer.encode(piece)
            if not vector.is_multi:  # a row of many tokens is no stray for one of them
                errors.append(quantizer.errors(piece))
            before, done = done, done + len(piece)
            # In rows: the tokens of all are as many steps as the rows of another name.
            advanced = done * builder.rows // len(written) - before * builder.rows // len(written)
            meter.advance(advanced)
        if not vector.is_multi:
            quantizer.strays = strays_among(np.concatenate(errors), present)

    return scorer_of(quantizer, builder.add_codes(name, codec, quantizer, codes()))


def _sample(written: npt.NDArray[Any], present: Offsets, size: int) -> npt.NDArray[Any]:
    """At most ``size`` of the vectors that there are, picked evenly at random, in their order."""
    if len(present) == 0:
        return np.zeros((1, written.shape[1]), dtype=np.float32)
    if len(present) > size:
        chosen = np.random.default_rng(_SAMPLE_SEED).choice(len(present), size, replace=False)
        present = present[np.sort(chosen)]
    return written[present]

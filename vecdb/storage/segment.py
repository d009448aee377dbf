"""FileSegment: an immutable directory of data files, open for reading.

``files.py`` says which files there are, ``format.py`` what is in them. Ids, their order and the
payload offsets are small and verified when opened. Payloads are verified block by block as they are
used, and so is all else that is mapped.

Some files are derived from the others: codes and their quantizer, sketches and their index, columns
of payload fields, the order of the ids, the manifest (``FileKind.derived``). Damage there loses
nothing: the segment does without the file and notes it in ``damage``, and the optimizer writes the
segment, or the column, anew. Damage anywhere else raises CorruptionError.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from msgspec.structs import replace

from vecdb import ids
from vecdb.errors import CorruptionError
from vecdb.quantization import Quantizer
from vecdb.storage import files, fs, layout
from vecdb.storage.arrays import Expected, PlacedArray, Placement
from vecdb.storage.catalog import Bits
from vecdb.storage.derived import Index, QuantizedVectors, without_rows
from vecdb.storage.files import NO_VECTOR, FileKind, is_outdated
from vecdb.storage.format import MAX_PAYLOAD, DamageError, bits_at
from vecdb.storage.multi_files import MultiFiles, TokenIndex
from vecdb.storage.placements import Placements
from vecdb.storage.segment_row import SegmentRow
from vecdb.storage.sparse_files import Postings, SparseFiles
from vecdb.storage.states import read_index, read_quantizer
from vecdb.vectors.block import VectorBlock
from vecdb.vectors.blocks import Block, Ragged, none_of
from vecdb.vectors.datatypes import SPARSE, is_multi, size_of, wide

_log = logging.getLogger("vecdb")

Floats = npt.NDArray[np.float32]
Offsets = npt.NDArray[np.int64]

_SPARED = (
    (files.SKETCH, "indexes"),
    (files.CODES, "quantized"),
    (files.TERMS, "inverted"),
    (files.POSTINGS, "inverted"),
    (files.TOKEN_INDEX, "token_indexes"),
    (files.TOKEN_LABELS, "token_indexes"),
    (files.COLUMN, "columns"),
)
"""The files that a search can do without, and where a segment holds what is in them."""


class FileSegment:
    """Rows of a segment directory. Immutable and thread-safe.

    Every file is opened here and stays open in its mapping, so the directory may be unlinked
    while searches still read from it.
    """

    kind = "file"

    def __init__(
        self,
        path: Path,
        uuid: bytes,
        row: SegmentRow,
        placements: Placements,
        reuse: FileSegment | None = None,
        on_damage: Callable[[], None] = lambda: None,
        lacking: Mapping[str, int] | None = None,
    ) -> None:
        """Open all files. ``reuse``: the same segment, placed otherwise; files that do not move are
        taken over. ``on_damage`` is called when a search finds damage of a derived file later.
        ``lacking``: vector names, with their dimensions, that came to the collection after the
        segment was built: none of its rows has them."""
        self.path = path
        self.id = row.id
        self.rows = row.rows
        self.row = row
        self.file_bytes = sum(file.length for file in row.files.values())
        self.dims = {name: vector.dim for name, vector in row.vectors.items()}
        self.lacking = dict(lacking or {})
        self.placements = placements
        self._uuid = uuid
        self.arrays: dict[str, PlacedArray] = {}
        self.damage: dict[str, str] = {}  # derived file -> what is wrong with it
        self._said: set[str] = set() if reuse is None else set(reuse._said)
        self._on_damage = on_damage
        self._old = {} if reuse is None else reuse.kept_by(row)
        self._ids = self._open(files.IDS).verify()
        self._order = self._open_order()
        self._seqs = self._open(files.SEQS)
        self._payload = self._open(files.PAYLOAD)
        self._payload_offsets = self._open_offsets()
        self.originals: dict[str, PlacedArray] = {}
        self.ragged: dict[str, SparseFiles | MultiFiles] = {}
        """By name: sparse vectors and multivectors."""
        self.inverted: dict[str, Postings] = {}
        self.token_indexes: dict[str, TokenIndex] = {}
        self.quantized: dict[str, QuantizedVectors] = {}
        self.indexes: dict[str, Index] = {}
        self.columns: dict[str, PlacedArray] = {}
        """By field: the bytes of its column."""
        self._present: dict[str, Bits] = {}
        for name, vector in row.vectors.items():
            self._open_vector(name, vector.codec)
            if vector.index is not None:
                self._open_index(name)
        for field in row.columns:
            try:
                self.columns[field] = self._open(files.COLUMN, field)
            except CorruptionError as error:
                self._note(error)
        try:
            opened = self._open(files.MANIFEST)
            opened.verify()
            opened.let_go()
        except CorruptionError as error:
            self._note(error)
        self._old = {}
        self._smallest = int(ids.from_array(self._ids[self._order[:1]])[0]) if self.rows else 0
        self._largest = int(ids.from_array(self._ids[self._order[-1:]])[0]) if self.rows else -1

    def _open(
        self, file: FileKind, of: str = "", placement: Placement | None = None
    ) -> PlacedArray:
        """Open one file. ``of``: the vector name, or the field. ``placement``: another than the
        wanted one."""
        if placement is None:
            placement = self.placements.of(file, of)
        name = file.file(of)
        old = self._old.get(name)
        if old is not None and old.placement == placement:
            self.arrays[name] = old
            return old
        path = self.path / name
        shape = file.shape(self.rows, self.row.vectors[of] if file.per == "vector" else NO_VECTOR)
        if name not in self.row.files or shape is None:
            raise CorruptionError(path, "the catalog does not know this file")
        expected = Expected(self._uuid, self.id, file.kind, self.row.files[name])
        with fs.must_be_readable(path) if file.derived else nullcontext():
            opened = PlacedArray(path, expected, placement)
        try:
            shape.require(opened.header)
        except DamageError as error:
            raise CorruptionError(path, str(error)) from None
        self.arrays[name] = opened
        return opened

    def _open_vector(self, name: str, codec: dict[str, Any] | None) -> None:
        if files.PRESENT.file(name) in self.row.files:
            self._present[name] = self._open(files.PRESENT, name).verify()
        if self.dims[name] == SPARSE:
            self._open_sparse(name)
            return
        if is_multi(self.dims[name]):
            self._open_multi(name, codec)
            return
        self.originals[name] = self._open(files.VECTORS, name)
        self._open_codes(name, codec, self.rows)

    def _open_codes(self, name: str, codec: dict[str, Any] | None, count: int) -> None:
        """Open the codes of so many vectors, of rows or of tokens, if there are any."""
        if codec is None:
            return
        if is_outdated(codec):
            self._keep_closed(name)
            return
        try:
            codes = self._open(files.CODES, name)
            quantizer = self._open_quantizer(name, codec, count)
            if codes.header.rows != quantizer.codes_shape(count)[0]:
                raise CorruptionError(codes.path, "does not have a code for each token")
        except CorruptionError as error:
            self._note(error)
        else:
            regular = without_rows(quantizer.strays, count)
            self.quantized[name] = QuantizedVectors(quantizer, codes, codec, regular)

    def _open_sparse(self, name: str) -> None:
        parts = (files.SPARSE_OFFSETS, files.SPARSE_INDICES, files.SPARSE_VALUES)
        sparse = self.ragged[name] = SparseFiles(*(self._open(file, name) for file in parts))
        if files.TERMS.file(name) not in self.row.files:
            return
        try:
            terms, postings = self._open(files.TERMS, name), self._open(files.POSTINGS, name)
            self.inverted[name] = Postings(terms, postings, sparse)
        except CorruptionError as error:
            self._note(error)

    def _open_multi(self, name: str, codec: dict[str, Any] | None) -> None:
        offsets, tokens = self._open(files.TOKEN_OFFSETS, name), self._open(files.TOKENS, name)
        multi = self.ragged[name] = MultiFiles(offsets, tokens, self._present.get(name))
        self._open_codes(name, codec, tokens.header.rows)
        if files.TOKEN_INDEX.file(name) not in self.row.files:
            return
        try:
            index, labels = (self._open(f, name) for f in (files.TOKEN_INDEX, files.TOKEN_LABELS))
            opened = TokenIndex(index, labels, multi)
            opened.require_fit()
            self.token_indexes[name] = opened
        except CorruptionError as error:
            self._note(error)

    def _open_index(self, name: str) -> None:
        try:
            sketch = self._open(files.SKETCH, name)
            opened = self._open(files.INDEX, name)
            try:
                clustered = read_index(opened.verify(), self.dims[name], self.rows)
                if (sketch.header.rows, sketch.header.columns) != clustered.sketch_shape:
                    raise DamageError("does not fit its sketches")
                opened.is_copied()
            except DamageError as error:
                raise CorruptionError(opened.path, str(error)) from error
        except CorruptionError as error:
            self._note(error)
        else:
            size = sketch.file_size + opened.file_size
            self.indexes[name] = Index(clustered, sketch, size, self.rows)

    def _keep_closed(self, name: str) -> None:
        """Open files of outdated codes: they count, and are checked, but are of no use."""
        for file in (files.CODES, files.QUANTIZER):
            try:
                self._open(file, name, "cached")
            except CorruptionError as error:
                self._note(error)

    def _open_quantizer(self, name: str, codec: dict[str, Any], count: int) -> Quantizer:
        opened = self._open(files.QUANTIZER, name)
        try:
            quantizer = read_quantizer(opened.verify(), codec["kind"], size_of(self.dims[name]))
            if len(quantizer.strays) and quantizer.strays[-1] >= count:
                raise DamageError("names rows that there are not")
            opened.is_copied()
            return quantizer
        except DamageError as error:
            raise CorruptionError(opened.path, str(error)) from error

    def _open_order(self) -> npt.NDArray[np.uint32]:
        try:
            opened = self._open(files.ORDER)
            order = opened.verify()
            if self.rows and int(order.max()) >= self.rows:
                raise CorruptionError(opened.path, "names rows that there are not")
            return order
        except CorruptionError as error:
            self._note(error)
            return ids.sort_order(self._ids).astype(np.uint32)

    def _open_offsets(self) -> npt.NDArray[np.uint64]:
        opened = self._open(files.PAYLOAD_OFFSETS)
        offsets = opened.verify()
        ends = int(offsets[0]), int(offsets[-1])
        # If offsets fall, the unsigned difference is huge.
        longest = int(np.diff(offsets).max()) if self.rows else 0
        if ends != (0, len(self._payload.array)) or longest > MAX_PAYLOAD:
            raise CorruptionError(opened.path, "does not cut the payloads into rows")
        return offsets

    def _note(self, error: CorruptionError) -> None:
        self.damage[error.path] = error.detail

    def log_damage(self) -> None:
        """Log the damage that was noted, once. Only a process that takes the segment into use calls
        this: a reader may have opened it while its writer was removing it, and not use it."""
        for path in self.damage.keys() - self._said:
            self._said.add(path)
            error = CorruptionError(path, self.damage[path])
            _log.warning("%s; answers stay exact, the segment will be rebuilt", error)

    @property
    def is_damaged(self) -> bool:
        """Whether there is damage that takes a new segment: more than that of columns."""
        return any(not layout.is_column(Path(path).name) for path in self.damage)

    def quarantine(self, name: str, error: CorruptionError) -> None:
        """Go on without the codes or an index of a vector name, or without the column of a field.
        A search has met damage in a block that was not used before. Raises the error if it is about
        none of them. Another search may have just done the same."""
        for file, held in _SPARED:
            if error.path == str(self.path / file.file(name)):
                setattr(self, held, {k: v for k, v in getattr(self, held).items() if k != name})
                break
        else:
            raise error
        self._note(error)
        self.log_damage()
        self._on_damage()

    @property
    def searched_by_index(self) -> set[str]:
        """The vector names of which not all originals need be looked at."""
        return {*self.indexes, *self.quantized, *self.inverted, *self.token_indexes}

    def kept_by(self, row: SegmentRow) -> dict[str, PlacedArray]:
        """Its files that are still there in another state of the segment. One that was damaged may
        have been written anew."""
        return {
            name: array
            for name, array in self.arrays.items()
            if self.row.files[name] == row.files.get(name) and str(array.path) not in self.damage
        }

    def moved(self, placements: Placements) -> FileSegment:
        """The same segment with its files placed otherwise; nothing is rewritten."""
        return FileSegment(
            self.path, self._uuid, self.row, placements, self, self._on_damage, self.lacking
        )

    # -- reading ---------------------------------------------------------------------------

    def locate(self, keys: Sequence[int], array: ids.IdArray, rows: int) -> Offsets:
        """For each key the row that has it, dead or alive, or -1."""
        if not keys or max(keys) < self._smallest or min(keys) > self._largest:
            return np.full(len(keys), -1, dtype=np.int64)
        return ids.find(self._ids, self._order, array)

    def key(self, offset: int) -> int:
        """The key of one row."""
        if self._ids.ndim == 1:
            return int(self._ids[offset])
        return ids.from_array(self._ids[offset : offset + 1])[0]

    def id_array(self, offsets: Offsets) -> ids.IdArray:
        """The keys of several rows."""
        return self._ids[offsets]

    def seq(self, offset: int) -> int:
        """The operation that wrote the row."""
        return int(self._seqs.verify_span(offset, offset + 1)[offset])

    def seq_array(self, offsets: Offsets) -> npt.NDArray[np.uint64]:
        """The operations that wrote several rows."""
        return self._seqs.verify_rows(offsets)[offsets]

    def payload(self, offset: int) -> bytes:
        """The encoded payload of one row."""
        start, stop = int(self._payload_offsets[offset]), int(self._payload_offsets[offset + 1])
        return self._payload.verify_span(start, stop)[start:stop].tobytes()

    def payloads(self, offsets: Offsets) -> list[Any]:
        """The encoded payloads of several rows, as views of the file."""
        starts = self._payload_offsets[offsets].tolist()
        stops = self._payload_offsets[offsets + 1].tolist()
        spans = list(zip(starts, stops, strict=True))
        if self._payload.unverified_blocks:
            for start, stop in spans:
                self._payload.verify_span(start, stop)
        data = self._payload.array.data
        return [data[start:stop] for start, stop in spans]

    def payload_size(self, rows: Offsets) -> int:
        """Bytes of the encoded payloads of several rows."""
        starts, ends = self._payload_offsets[rows], self._payload_offsets[rows + 1]
        return int((ends - starts).sum())

    def take(self, name: str, offsets: Offsets) -> Floats:
        """Copies of several rows' dense vectors: ``float32 (m, dim)``."""
        if name in self.lacking:
            return np.zeros((len(offsets), self.lacking[name]), dtype=np.float32)
        vectors = self.originals[name].verify_rows(offsets)
        return wide(vectors[offsets]).reshape(len(offsets), self.dims[name])

    def block(self, name: str, offsets: Offsets) -> Block:
        """Copies of several rows' vectors, of any kind."""
        if name in self.lacking:
            return none_of(len(offsets), self.lacking[name])
        has = self.has(name, offsets)
        if name in self.ragged:
            return replace(self.ragged[name].take(offsets), has=has)
        return VectorBlock(self.take(name, offsets), has)

    def entries(self, name: str, offsets: Offsets) -> int:
        """How many numbers several rows' sparse vectors have, or tokens their multivectors."""
        return 0 if name in self.lacking else self.ragged[name].entries(offsets)

    def has(self, name: str, offsets: Offsets) -> npt.NDArray[np.bool_] | None:
        """Which of the rows have this vector; None: all of them."""
        if name in self.lacking:
            return np.zeros(len(offsets), dtype=np.bool_)
        bits = self._present.get(name)
        if bits is None:
            return None
        return bits_at(bits, offsets)

    def present(self, name: str, rows: int) -> Bits | None:
        """Bits of the rows that have this vector; None: all of them."""
        if name in self.lacking:
            return np.zeros(-(-self.rows // 8), dtype=np.uint8)
        return self._present.get(name)

    def blocks(self, name: str, rows: int) -> Iterator[tuple[int, npt.NDArray[Any]]]:
        """All dense vectors of a name, verified, as (first row, ``(n, dim)`` in their datatype):
        in one piece, unless the file is cold."""
        if self.rows and name not in self.lacking:
            opened = self.originals[name]
            vectors = opened.array.reshape(self.rows, self.dims[name])
            for start, stop in opened.pieces():
                opened.verify_span(start, stop)
                yield start, vectors[start:stop]

    def ragged_blocks(self, name: str, rows: int) -> Iterator[tuple[int, Ragged]]:
        """All sparse vectors, or multivectors, of a name, verified: (0, block)."""
        if self.rows and name not in self.lacking:
            yield 0, self.ragged[name].all()

    def postings(self, name: str) -> Postings | None:
        """The inverted index of a vector name; None: it has none, or a damaged one."""
        return self.inverted.get(name)

    def multivectors(self, name: str) -> MultiFiles | None:
        """The multivectors of a name as files; None: no row has one."""
        found = self.ragged.get(name)
        return found if isinstance(found, MultiFiles) else None

    def token_index(self, name: str) -> TokenIndex | None:
        """The index of a name of multivectors; None: it has none, or a damaged one."""
        return self.token_indexes.get(name)

    def vectors(self, name: str) -> PlacedArray | None:
        """The dense vectors of a name as one file; None: no row has one."""
        return self.originals.get(name)

    def index(self, name: str) -> Index | None:
        """The index of a vector name; None: it has none, or a damaged one."""
        return self.indexes.get(name)

    def codes(self, name: str) -> QuantizedVectors | None:
        """The quantized vectors of a vector name; None: it has none, or a damaged one."""
        return self.quantized.get(name)

    def from_key(self, key: int, rows: int) -> npt.NDArray[np.uint32]:
        """All rows in id order, starting at the first id not below ``key``."""
        start = int(ids.position(self._ids, self._order, ids.to_array([key]))[0])
        return self._order[start:]

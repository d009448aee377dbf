"""The inner loops of `fastscan`: tables looked up by the processor's byte shuffle.

A table of 16 bytes fits a register, and one instruction (x86 ``pshufb``, ARM ``tbl``) looks up 16
to 64 codes in it: F. André, A.-M. Kermarrec, N. Le Scouarnec, "Cache locality is not enough:
high-performance nearest neighbor search with product quantization fast scan", VLDB 2015. No
compiler finds that in a loop, so `emit_sums` writes it in LLVM's language, in the way that suits
the processor (`TARGETS`); for any other there is a plain loop. All make the same sums.

`blocks` makes it usable in kernels.
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple

from vecdb.kernels.compiling import cgutils, ir

__all__ = [
    "BLOCK_ROWS",
    "BYTE",
    "FLOAT",
    "INT",
    "LONG",
    "NEON",
    "SHORT",
    "TARGETS",
    "VBMI",
    "Target",
    "add_to",
    "call",
    "emit_sums",
    "load",
    "reorder",
    "splat",
    "spread",
    "store",
    "target_for",
    "variable",
]

BLOCK_ROWS: Final = 32


class Target(NamedTuple):
    """A way to look up ``width`` codes at once."""

    name: str
    width: int
    shuffle: str
    """LLVM's name of the instruction."""
    needs: frozenset[str]
    """The features a processor must have, by LLVM's names."""


NEON: Final = Target("neon", 16, "llvm.aarch64.neon.tbl1.v16i8", frozenset())
VBMI: Final = Target(
    "vbmi",
    64,
    "llvm.x86.avx512.permvar.qi.512",
    frozenset({"avx512bw", "avx512vbmi", "avx512vnni"}),
)
TARGETS: Final = (  # of x86, the best first
    VBMI,
    Target("avx512", 64, "llvm.x86.avx512.pshuf.b.512", frozenset({"avx512bw"})),
    Target("avx2", 32, "llvm.x86.avx2.pshuf.b", frozenset({"avx2"})),
    Target("ssse3", 16, "llvm.x86.ssse3.pshuf.b.128", frozenset({"ssse3"})),
)


def target_for(triple: str, features: str) -> Target | None:
    """The best way on a processor, as LLVM names it (``"+avx2,-sse4a"``); None: the plain loop."""
    architecture = triple.split("-")[0]
    if architecture in ("aarch64", "arm64"):
        return NEON
    if architecture != "x86_64":
        return None
    has = {name[1:] for name in features.split(",") if name.startswith("+")}
    return next((target for target in TARGETS if target.needs <= has), None)


# --- the sums of one block ------------------------------------------------------------------------

BYTE, SHORT, INT, LONG = (ir.IntType(bits) for bits in (8, 16, 32, 64))
FLOAT = ir.FloatType()


def emit_sums(
    builder: Any, target: Target, codes: Any, tables: list[Any], quads: Any, out: Any
) -> None:
    """Write code that sums one block under each of the tables, to ``out: int32[q, 32]``.

    ``codes`` and ``tables`` point to bytes, ``out`` to int32; ``quads`` is an int64. The layout is
    that of `fastscan`.
    """
    emit = _emit_by_fours if target is VBMI else _emit_by_pairs
    emit(builder, target, codes, tables, quads, out)


def _emit_by_pairs(
    builder: Any, target: Target, codes: Any, tables: list[Any], quads: Any, out: Any
) -> None:
    """Found bytes are added two by two, as numbers of 16 bits, and the high ones once more alone.

    What the high bytes sum to, taken away from the first sum, leaves the low ones': an instruction
    less than keeping them apart. 16 bits hold 257 bytes of 255; after 256 the sums move to 32 bits.
    """
    pairs = target.width // 2
    fifteen, four = splat(BYTE, target.width, 15), splat(BYTE, target.width, 4)
    zero, eight = splat(SHORT, pairs, 0), splat(SHORT, pairs, 8)
    whole = ir.VectorType(INT, BLOCK_ROWS)
    most = LONG(256 // 4)
    totals = [variable(builder, ir.Constant(whole, None)) for _ in tables]
    # Of rows 0 .. 15 (low half of a byte of codes): pairs, high bytes; then of rows 16 .. 31.
    sums = [[variable(builder, zero) for _ in range(4)] for _ in tables]
    rounds = builder.udiv(builder.add(quads, LONG(63)), most)
    with cgutils.for_range(builder, rounds) as outer:
        start = builder.mul(outer.index, most)
        left = builder.sub(quads, start)
        count = builder.select(builder.icmp_signed("<", left, most), left, most)
        for slots in sums:
            for slot in slots:
                builder.store(zero, slot)
        with cgutils.for_range(builder, count) as inner:
            quad = builder.mul(builder.add(start, inner.index), LONG(64))
            for piece in range(0, 64, target.width):
                at = builder.add(quad, LONG(piece))
                both = load(builder, codes, at, BYTE, target.width)
                halves = builder.and_(both, fifteen), builder.lshr(both, four)
                for table, slots in zip(tables, sums, strict=True):
                    entries = load(builder, table, at, BYTE, target.width)
                    for i, half in enumerate(halves):
                        found = call(builder, target.shuffle, entries.type, entries, half)
                        found = builder.bitcast(found, zero.type)
                        add_to(builder, slots[2 * i], found)
                        add_to(builder, slots[2 * i + 1], builder.lshr(found, eight))
        for slots, total in zip(sums, totals, strict=True):
            ordered = []
            for i in range(2):
                high = builder.load(slots[2 * i + 1])
                low = builder.sub(builder.load(slots[2 * i]), builder.shl(high, eight))
                ordered.append(_in_order(builder, low, high))
            rows = reorder(builder, ordered[0], ordered[1], list(range(BLOCK_ROWS)))
            add_to(builder, total, builder.zext(rows, whole))
    for i, total in enumerate(totals):
        store(builder, builder.load(total), out, BLOCK_ROWS * i)


def _in_order(builder: Any, even: Any, odd: Any) -> Any:
    """The sums of 16 rows, from those of even and of odd rows, 8 in each 16 bytes."""
    while (count := even.type.count) > 8:
        low, high = list(range(count // 2)), list(range(count // 2, count))
        even, odd = (
            builder.add(reorder(builder, x, x, low), reorder(builder, x, x, high))
            for x in (even, odd)
        )
    return reorder(builder, even, odd, [i // 2 + 8 * (i % 2) for i in range(16)])


def _emit_by_fours(
    builder: Any, target: Target, codes: Any, tables: list[Any], quads: Any, out: Any
) -> None:
    """Four tables in one register, and an instruction that adds four neighbouring bytes to 32 bits.

    Hence no sums of 16 bits; but the four codes of a row have to be made neighbours first.
    """
    kind, words = ir.VectorType(BYTE, 64), ir.VectorType(SHORT, 32)
    neighbours = ir.Constant(kind, [16 * (i % 4) + i // 4 for i in range(64)])
    table_starts = ir.Constant(kind, [16 * (i % 4) for i in range(64)])
    fifteen, four = splat(BYTE, 64, 15), splat(SHORT, 32, 4)
    zero, ones = splat(INT, 16, 0), splat(INT, 16, 0x01010101)
    # An addition waits four cycles for the one before: a query alone takes turns with two sums.
    turns = 2 if len(tables) == 1 else 1
    sums = [[[variable(builder, zero) for _ in range(2)] for _ in tables] for _ in range(turns)]

    def add_quad(quad: Any, turn: int) -> None:
        at = builder.mul(quad, LONG(64))
        both = load(builder, codes, at, BYTE, 64)
        both = call(builder, target.shuffle, kind, both, neighbours)
        # There is no shift of bytes, but what words shift in goes with the other half.
        high = builder.bitcast(builder.lshr(builder.bitcast(both, words), four), kind)
        halves = [builder.or_(builder.and_(x, fifteen), table_starts) for x in (both, high)]
        for table, slots in zip(tables, sums[turn], strict=True):
            entries = load(builder, table, at, BYTE, 64)
            for half, slot in zip(halves, slots, strict=True):
                found = call(builder, target.shuffle, kind, entries, half)
                found = builder.bitcast(found, zero.type)
                add = "llvm.x86.avx512.vpdpbusd.512"
                total = call(builder, add, zero.type, builder.load(slot), found, ones)
                builder.store(total, slot)

    with cgutils.for_range(builder, builder.udiv(quads, LONG(turns))) as loop:
        for turn in range(turns):
            add_quad(builder.add(builder.mul(loop.index, LONG(turns)), LONG(turn)), turn)
    if turns == 2:
        with builder.if_then(builder.trunc(quads, ir.IntType(1))):
            add_quad(builder.sub(quads, LONG(1)), 0)
    for i in range(len(tables)):
        for half in range(2):
            for turn in range(1, turns):
                add_to(builder, sums[0][i][half], builder.load(sums[turn][i][half]))
            store(builder, builder.load(sums[0][i][half]), out, BLOCK_ROWS * i + 16 * half)


# --- LLVM in fewer words --------------------------------------------------------------------------


def variable(builder: Any, value: Any) -> Any:
    """A slot for a value, which the compiler turns into a register."""
    return cgutils.alloca_once_value(builder, value)


def splat(kind: ir.Type, count: int, value: float) -> ir.Constant:
    return ir.Constant(ir.VectorType(kind, count), [value] * count)


def spread(builder: Any, value: Any, count: int) -> Any:
    """``count`` times a number."""
    nothing = ir.Constant(ir.VectorType(value.type, count), ir.Undefined)
    one = builder.insert_element(nothing, value, INT(0))
    return reorder(builder, one, one, [0] * count)


def load(builder: Any, pointer: Any, offset: Any, kind: ir.Type, count: int) -> Any:
    """``count`` values, ``offset`` elements after ``pointer``, aligned or not."""
    vector = ir.VectorType(kind, count).as_pointer()
    return builder.load(builder.bitcast(builder.gep(pointer, [offset]), vector), align=1)


def store(builder: Any, value: Any, pointer: Any, offset: int, align: int = 4) -> None:
    here = builder.gep(pointer, [LONG(offset)])
    builder.store(value, builder.bitcast(here, value.type.as_pointer()), align=align)


def reorder(builder: Any, a: Any, b: Any, order: list[int]) -> Any:
    return builder.shuffle_vector(a, b, ir.Constant(ir.VectorType(INT, len(order)), order))


def call(builder: Any, name: str, result: ir.Type, *arguments: Any) -> Any:
    kind = ir.FunctionType(result, [argument.type for argument in arguments])
    function = cgutils.get_or_insert_function(builder.module, kind, name)
    return builder.call(function, arguments)


def add_to(builder: Any, slot: Any, value: Any) -> None:
    builder.store(builder.add(builder.load(slot), value), slot)

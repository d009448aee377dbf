"""What numba's code needs while it runs: memory for arrays that live and die within a kernel.

Numba's own runtime is C that registers with Python; its counters are atomic, for arrays that
threads share. No other thread sees an array of a kernel, and arguments are not counted at all.
"""

from __future__ import annotations

import re
from typing import Any

from llvmlite import ir

from kernel_compiler.llvm import INT, LONG, NULL, POINTER, VOID, declare

_HEADER = ir.LiteralStructType([LONG, POINTER, POINTER, POINTER, LONG, POINTER])
"""``NRT_MemInfo``: count, destructor, its argument, data, bytes, allocator. Kernels load ``data``
from it, by the layout of numba 0.60 to 0.68; the rest is ours."""
_HEADER_BYTES = 48


def module(triple: str, layout: str) -> Any:
    """The functions by the names that numba gives them."""
    made = ir.Module("runtime")
    made.triple, made.data_layout = triple, layout
    _allocate(made, "NRT_MemInfo_alloc_aligned", aligned=True)
    _allocate(made, "NRT_MemInfo_alloc", aligned=False)
    free = declare(made, "free", VOID, POINTER)
    release = ir.Function(made, ir.FunctionType(VOID, [POINTER]), "NRT_MemInfo_call_dtor")
    builder = ir.IRBuilder(release.append_basic_block())
    builder.call(free, [release.args[0]])
    builder.ret_void()
    _count(made, "NRT_incref", 1)
    _count(made, "NRT_decref", -1)
    return made


def without_atomic_counts(text: str) -> str:
    """Modules of numba bring counting with them; what is declared instead is `module`'s."""
    for name in ("NRT_incref", "NRT_decref"):
        defined = re.compile(rf"define [^\n]*void @{name}\(.*?\n}}\n", flags=re.DOTALL)
        text = defined.sub(f"declare void @{name}(ptr)\n", text)
    return text


def _allocate(made: Any, name: str, *, aligned: bool) -> None:
    """``(bytes[, align]) -> NRT_MemInfo *``, null where there is no memory."""
    function = ir.Function(made, ir.FunctionType(POINTER, [LONG, INT][: 1 + aligned]), name)
    builder = ir.IRBuilder(function.append_basic_block())
    size = function.args[0]
    align = builder.zext(function.args[1], LONG) if aligned else LONG(16)
    total = builder.add(size, builder.add(align, LONG(_HEADER_BYTES)))
    start = builder.call(declare(made, "malloc", POINTER, LONG), [total])
    with builder.if_then(builder.icmp_unsigned("==", start, NULL), likely=False):
        builder.ret(NULL)
    data = builder.add(builder.ptrtoint(start, LONG), LONG(_HEADER_BYTES))
    data = builder.add(data, builder.sub(align, LONG(1)))
    data = builder.inttoptr(builder.and_(data, builder.sub(LONG(0), align)), POINTER)
    header = builder.bitcast(start, _HEADER.as_pointer())
    for i, value in enumerate((LONG(1), NULL, NULL, data, size, NULL)):
        builder.store(value, builder.gep(header, [INT(0), INT(i)]))
    builder.ret(start)


def _count(made: Any, name: str, step: int) -> None:
    function = ir.Function(made, ir.FunctionType(VOID, [POINTER]), name)
    function.attributes.add("alwaysinline")
    builder = ir.IRBuilder(function.append_basic_block())
    array = function.args[0]
    counted = builder.icmp_unsigned("!=", array, NULL)
    with builder.if_then(counted):
        place = builder.bitcast(array, LONG.as_pointer())
        count = builder.add(builder.load(place), LONG(step))
        builder.store(count, place)
        if step < 0:
            with builder.if_then(builder.icmp_unsigned("==", count, LONG(0)), likely=False):
                release = declare(made, "NRT_MemInfo_call_dtor", VOID, POINTER)
                builder.call(release, [array])
    builder.ret_void()

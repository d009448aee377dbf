"""Python's lock while a kernel runs: given away, and taken back without sleeping if that is soon.

A kernel of a search takes 20 µs, and so does what Python does around it. A thread that sleeps until
it has the lock again is woken after as long, or after milliseconds beside other processes. So it
first looks, for about as long, whether the thread that came from a kernel last has gone into the
next one. That is told by a word of this library; whoever else has the lock is not waited for, and
nothing depends on the word being right.
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple

from llvmlite import ir

from kernel_compiler.llvm import INT, LONG, POINTER, VOID, declare

_LOOKS: Final = 1000
"""With a pause after each, 15 to 50 µs."""


class Lock(NamedTuple):
    """The two functions of a module."""

    give: Any
    """``() -> state``: other threads run from here on."""
    take: Any
    """``(state)``: only this one does."""


def lock(module: ir.Module) -> Lock:
    """Add the functions to a module."""
    holder = ir.GlobalVariable(module, LONG, "lock.holder")
    holder.linkage, holder.initializer = "internal", LONG(0)
    return Lock(_give(module, holder), _take(module, holder))


def _give(module: ir.Module, holder: Any) -> Any:
    made = ir.Function(module, ir.FunctionType(POINTER, []), "lock.give")
    made.linkage = "internal"
    builder = ir.IRBuilder(made.append_basic_block())
    state = builder.call(declare(module, "PyEval_SaveThread", POINTER), [])
    # After it, or others would find the lock taken still. By then one of them may have it.
    mine = builder.ptrtoint(state, LONG)
    builder.cmpxchg(holder, mine, LONG(0), "release", "monotonic")
    builder.ret(state)
    return made


def _take(module: ir.Module, holder: Any) -> Any:
    made = ir.Function(module, ir.FunctionType(VOID, [POINTER]), "lock.take")
    made.linkage = "internal"
    [state] = made.args
    entry, look, pause, take = (
        made.append_basic_block(name) for name in ("entry", "look", "pause", "take")
    )
    ir.IRBuilder(entry).branch(look)

    builder = ir.IRBuilder(look)
    looks = builder.phi(INT)
    looks.add_incoming(INT(0), entry)
    free = builder.icmp_signed("==", builder.load_atomic(holder, "acquire", 8), LONG(0))
    builder.cbranch(builder.or_(free, builder.icmp_signed("==", looks, INT(_LOOKS))), take, pause)

    builder = ir.IRBuilder(pause)
    _pause(module, builder)
    looks.add_incoming(builder.add(looks, INT(1)), pause)
    builder.branch(look)

    builder = ir.IRBuilder(take)
    builder.call(declare(module, "PyEval_RestoreThread", VOID, POINTER), [state])
    builder.store_atomic(builder.ptrtoint(state, LONG), holder, "release", 8)
    builder.ret_void()
    return made


def _pause(module: ir.Module, builder: Any) -> None:
    """An instruction that does nothing for some ten nanoseconds."""
    if module.triple.startswith("x86_64"):
        builder.call(declare(module, "llvm.x86.sse2.pause", VOID), [])
    else:
        builder.call(declare(module, "llvm.aarch64.isb", VOID, INT), [INT(15)])

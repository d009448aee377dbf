"""LLVM's types, and what is done with each module."""

from __future__ import annotations

from typing import Any

from llvmlite import ir

BIT, BYTE, SHORT, INT, LONG = (ir.IntType(bits) for bits in (1, 8, 16, 32, 64))
FLOAT, DOUBLE, VOID = ir.FloatType(), ir.DoubleType(), ir.VoidType()
POINTER = ir.PointerType(BYTE)
NULL = ir.Constant(POINTER, None)


def declare(module: Any, name: str, result: Any, *arguments: Any, more: bool = False) -> Any:
    """A function of another module, as C would write its prototype, ``more`` for ``...``."""
    known = module.globals.get(name)
    if known is not None:
        return known
    return ir.Function(module, ir.FunctionType(result, arguments, var_arg=more), name)


def external(module: Any, name: str) -> Any:
    """A variable of another module."""
    known = module.globals.get(name)
    return known if known is not None else ir.GlobalVariable(module, POINTER, name)


def field(builder: Any, pointer: Any, offset: int, kind: Any) -> Any:
    """What stands ``offset`` bytes behind a pointer."""
    place = builder.gep(pointer, [LONG(offset)])
    return builder.load(builder.bitcast(place, kind.as_pointer()))


class Texts:
    """The constant texts of a module, each once."""

    def __init__(self, module: Any) -> None:
        self._module = module
        self._made: dict[str, Any] = {}

    def __call__(self, text: str) -> Any:
        """A pointer to it, with a zero at its end."""
        if text not in self._made:
            data = bytearray(text.encode() + b"\0")
            kind = ir.ArrayType(BYTE, len(data))
            made = ir.GlobalVariable(self._module, kind, f".text.{len(self._made)}")
            made.initializer = ir.Constant(kind, data)
            made.linkage, made.global_constant = "internal", True
            self._made[text] = made
        return self._made[text].bitcast(POINTER)

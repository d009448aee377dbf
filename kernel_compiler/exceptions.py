"""What kernels may raise, without pickle.

A kernel that raises returns a status and a constant that begins with a pointer to a pickle of the
class and its arguments: reading it would take numba. A letter for the class and the message as
text stand there instead.
"""

from __future__ import annotations

import pickle
import re
from typing import Any

from kernel_compiler.llvm import BYTE, LONG, NULL, POINTER, VOID, Texts, declare, external, field

CLASSES = ("MemoryError", "ValueError", "ZeroDivisionError")

KNOWN = frozenset(
    {
        ("MemoryError", "Allocation failed (probably too large)."),
        ("ValueError", "a mask of fewer rows"),
        (
            "ValueError",
            "array is too big; `arr.size * arr.dtype.itemsize` is larger than the maximum possible "
            "size.",
        ),
        ("ValueError", "attempt to get argmax of an empty sequence"),
        ("ValueError", "fewer bits than rows"),
        ("ValueError", "fewer bits than rows, or an empty table"),
        ("ValueError", "negative dimensions not allowed"),
        ("ZeroDivisionError", "division by zero"),
        ("ZeroDivisionError", "integer division by zero"),
    }
)
"""All that there is. A new one is noticed by the build, and looked at: kernels are not to raise."""

_PICKLE = re.compile(  # modules that are linked get numbers behind names that both have
    r"(@\.const\.pickledata\.[0-9a-f]+(?:\.[0-9]+)* = [^\n]*constant )"
    r'\[\d+ x i8\] c"([^\n]*?)"(?=[,\n ])'
)


class Unknown(Exception):
    """A kernel raises what is not in `KNOWN`."""


def as_text(module: str) -> str:
    """The text of a module, with every pickle of an exception replaced. Raises Unknown."""

    unknown = set()

    def replaced(match: re.Match[str]) -> str:
        raised, arguments, _ = pickle.loads(_bytes(match[2]))
        message = str(arguments[0]) if arguments else raised.__name__
        if (raised.__name__, message) not in KNOWN:
            unknown.add(f"{raised.__name__}: {message}")
            return match[0]
        data = bytes([ord("A") + CLASSES.index(raised.__name__)]) + message.encode() + b"\0"
        return f'{match[1]}[{len(data)} x i8] c"{_escaped(data)}"'

    text = _PICKLE.sub(replaced, module)
    if unknown:
        raise Unknown(f"kernels may raise {'; '.join(sorted(unknown))}")
    if left := re.search(r'@\.const\.pickledata[^\n]*c"\\80[^\n]{,80}', text):
        raise Unknown(f"a pickle was not replaced: {left[0]}")
    return text


def raising(module: Any, texts: Texts) -> Any:
    """A function ``(what a kernel gave *) -> NULL`` that raises it."""
    from llvmlite import ir

    made = ir.Function(module, ir.FunctionType(POINTER, [POINTER]), "raise_of_kernel")
    made.linkage = "internal"
    made.attributes.add("noinline")
    builder = ir.IRBuilder(made.append_basic_block())
    says = field(builder, made.args[0], 0, POINTER)
    letter = builder.load(says)
    raised = builder.load(external(module, "PyExc_RuntimeError"))
    for number, name in enumerate(CLASSES):
        here = builder.icmp_unsigned("==", letter, BYTE(ord("A") + number))
        raised = builder.select(here, builder.load(external(module, f"PyExc_{name}")), raised)
    set_string = declare(module, "PyErr_SetString", VOID, POINTER, POINTER)
    builder.call(set_string, [raised, builder.gep(says, [LONG(1)])])
    builder.ret(NULL)
    return made


def _bytes(escaped: str) -> bytes:
    plain = escaped.encode("latin1")
    return re.sub(
        rb"\\(\\|[0-9A-F]{2})",
        lambda found: b"\\" if found[1] == b"\\" else bytes([int(found[1], 16)]),
        plain,
    )


def _escaped(data: bytes) -> str:
    return "".join(f"\\{byte:02X}" for byte in data)

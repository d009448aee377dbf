"""What Python calls: one function for each kernel, and the module that has them.

Written in LLVM's language with numba's own helpers, so that no layout of numba's is repeated.
Python's functions are those of its stable ABI of 3.10, its calling convention METH_FASTCALL. An
array is read where numpy keeps it (``PyArrayObject_fields`` and ``PyArray_Descr``, the same in
numpy 1 and 2): asking numpy for a buffer would cost more than most kernels do.
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple

from llvmlite import ir
from numba.core import cgutils, types

from kernel_compiler import exceptions
from kernel_compiler.llvm import (
    BIT,
    BYTE,
    DOUBLE,
    FLOAT,
    INT,
    LONG,
    NULL,
    POINTER,
    VOID,
    Texts,
    declare,
    external,
    field,
)
from kernel_compiler.lock import lock

MODULE: Final = "_compiled"
"""Python asks a library for ``PyInit_`` and this."""

_TYPE, _DATA, _NDIM, _DIMENSIONS, _STRIDES, _DESCR, _FLAGS = 8, 16, 24, 32, 40, 56, 64
_BYTE_ORDER, _TYPE_NUM = 26, 28  # of a descr
_CONTIGUOUS, _ALIGNED, _WRITEABLE = 0x1, 0x100, 0x400
_NUMBERS: Final = {
    "bool": (0, 0),
    "uint8": (2, 2),
    "int16": (3, 3),
    "uint16": (4, 4),
    "int32": (5, 5),
    "uint32": (6, 6),
    "int64": (7, 9),  # long and long long
    "uint64": (8, 10),
    "float32": (11, 11),
    "float64": (12, 12),
}
"""Numpy's of a dtype."""


class Kernel(NamedTuple):
    """One compiled signature."""

    types: tuple[Any, ...]
    """Numba's, of the arguments."""
    descriptor: Any
    """Numba's ``fndesc``."""
    releases: bool
    """Other threads run meanwhile."""


def module(context: Any, triple: str, layout: str, kernels: dict[str, list[Kernel]]) -> Any:
    """The entries of all kernels and ``PyInit``; a kernel of several signatures is one function."""
    made = _Entries(context, triple, layout)
    methods = [(name, made.function(name, kernels[name])) for name in sorted(kernels)]
    made.initializer(methods)
    return made.module


class _Entries:
    def __init__(self, context: Any, triple: str, layout: str) -> None:
        self.module = ir.Module("entries")
        self.module.triple, self.module.data_layout = triple, layout
        self._context = context
        self._texts = Texts(self.module)
        self._ndarray = ir.GlobalVariable(self.module, POINTER, "ndarray_type")
        self._ndarray.linkage, self._ndarray.initializer = "internal", NULL
        self._is_array = self._array_check()
        self._lock = lock(self.module)
        self._raise = exceptions.raising(self.module, self._texts)

    def _declare(self, name: str, result: Any, *arguments: Any, more: bool = False) -> Any:
        return declare(self.module, name, result, *arguments, more=more)

    # --- arrays -----------------------------------------------------------------------------------

    def _array_check(self) -> Any:
        """``is_array(object, number, other number, ndim, flags)``."""
        check = ir.Function(self.module, ir.FunctionType(BIT, [POINTER, *[INT] * 4]), "is_array")
        check.linkage = "internal"
        check.attributes.add("noinline")
        builder = ir.IRBuilder(check.append_basic_block())
        array, number, other, ndim, flags = check.args
        kind, ndarray = field(builder, array, _TYPE, POINTER), builder.load(self._ndarray)
        with builder.if_then(builder.icmp_unsigned("!=", kind, ndarray), likely=False):
            is_subtype = self._declare("PyType_IsSubtype", INT, POINTER, POINTER)
            inherits = builder.call(is_subtype, [kind, ndarray])
            with builder.if_then(builder.icmp_signed("==", inherits, INT(0))):
                builder.ret(BIT(0))
        descr = field(builder, array, _DESCR, POINTER)
        found = field(builder, descr, _TYPE_NUM, INT)
        right = builder.or_(
            builder.icmp_signed("==", found, number), builder.icmp_signed("==", found, other)
        )
        order = field(builder, descr, _BYTE_ORDER, BYTE)
        set_flags = builder.and_(field(builder, array, _FLAGS, INT), flags)
        for more in (
            builder.icmp_signed("==", field(builder, array, _NDIM, INT), ndim),
            builder.icmp_signed("==", set_flags, flags),
            builder.icmp_unsigned("!=", order, BYTE(ord(">"))),
        ):
            right = builder.and_(right, more)
        builder.ret(right)
        return check

    def _fits(self, builder: Any, given: Any, kind: Any) -> Any:
        number, other = _NUMBERS[str(kind.dtype)]
        flags = _CONTIGUOUS | _ALIGNED | (_WRITEABLE if kind.mutable else 0)
        wanted = [INT(number), INT(other), INT(kind.ndim), INT(flags)]
        return builder.call(self._is_array, [given, *wanted])

    def _array(self, builder: Any, given: Any, kind: Any) -> Any:
        """Numba's array of numpy's. Nobody counts it: Python holds the argument."""
        array = self._context.make_array(kind)(self._context, builder)
        shape, strides = (
            [
                builder.load(builder.gep(builder.bitcast(start, LONG.as_pointer()), [LONG(axis)]))
                for axis in range(kind.ndim)
            ]
            for start in (
                field(builder, given, _DIMENSIONS, POINTER),
                field(builder, given, _STRIDES, POINTER),
            )
        )
        items = shape[0]
        for size in shape[1:]:
            items = builder.mul(items, size)
        array.meminfo = NULL
        array.parent = ir.Constant(array.parent.type, None)
        array.nitems = items
        array.itemsize = LONG(self._item_bytes(kind))
        array.data = builder.bitcast(field(builder, given, _DATA, POINTER), array.data.type)
        array.shape = cgutils.pack_array(builder, shape)
        array.strides = cgutils.pack_array(builder, strides)
        return array._getvalue()

    def _item_bytes(self, kind: Any) -> int:
        return int(self._context.get_abi_sizeof(self._context.get_data_type(kind.dtype)))

    # --- numbers ----------------------------------------------------------------------------------

    def _number(self, builder: Any, given: Any, kind: Any) -> Any:
        """A number of Python's, or of whatever says that it is one."""
        if isinstance(kind, types.Float):
            value = builder.call(self._declare("PyFloat_AsDouble", DOUBLE, POINTER), [given])
            self._return_null_if_raised(builder, builder.fcmp_ordered("==", value, DOUBLE(-1.0)))
            return value if kind.bitwidth == 64 else builder.fptrunc(value, FLOAT)
        if kind.signed:
            value = builder.call(self._declare("PyLong_AsLongLong", LONG, POINTER), [given])
        else:  # it takes Python's own integers only
            index = builder.call(self._declare("PyNumber_Index", POINTER, POINTER), [given])
            with builder.if_then(builder.icmp_unsigned("==", index, NULL), likely=False):
                builder.ret(NULL)
            convert = self._declare("PyLong_AsUnsignedLongLong", LONG, POINTER)
            value = builder.call(convert, [index])
            builder.call(self._declare("Py_DecRef", VOID, POINTER), [index])
        self._return_null_if_raised(builder, builder.icmp_signed("==", value, LONG(-1)))
        wanted = self._context.get_value_type(kind)
        return value if kind.bitwidth == 64 else builder.trunc(value, wanted)

    def _return_null_if_raised(self, builder: Any, perhaps: Any) -> None:
        with builder.if_then(perhaps, likely=False):
            raised = builder.call(self._declare("PyErr_Occurred", POINTER), [])
            with builder.if_then(builder.icmp_unsigned("!=", raised, NULL)):
                builder.ret(NULL)

    def _boxed(self, builder: Any, value: Any, kind: Any) -> Any:
        if isinstance(kind, types.Integer):
            return builder.call(self._declare("PyLong_FromLongLong", POINTER, LONG), [value])
        wide = value if kind.bitwidth == 64 else builder.fpext(value, DOUBLE)
        return builder.call(self._declare("PyFloat_FromDouble", POINTER, DOUBLE), [wide])

    # --- functions --------------------------------------------------------------------------------

    def function(self, name: str, signatures: list[Kernel]) -> Any:
        """``(module, arguments *, their number) -> object``."""
        bodies = [
            self._body(name, kernel, f"{name}.{number}") for number, kernel in enumerate(signatures)
        ]
        if len(bodies) == 1:
            return bodies[0]
        deciding = next(i for i in range(len(signatures[0].types)) if _differ(signatures, i))
        made, builder, arguments = self._begin(name, name, len(signatures[0].types))
        given = builder.load(builder.gep(arguments, [LONG(deciding)]))
        for kernel, body in zip(signatures, bodies, strict=True):
            with builder.if_then(self._fits(builder, given, kernel.types[deciding])):
                builder.ret(builder.call(body, made.args))
        wanted = [kernel.types[deciding] for kernel in signatures]
        self._refuse(builder, name, deciding, " or ".join(map(_words, wanted)))
        return made

    def _begin(self, name: str, symbol: str, count: int) -> tuple[Any, Any, Any]:
        made = ir.Function(self.module, ir.FunctionType(POINTER, [POINTER, POINTER, LONG]), symbol)
        made.linkage = "internal"
        builder = ir.IRBuilder(made.append_basic_block("entry"))
        with builder.if_then(builder.icmp_signed("!=", made.args[2], LONG(count)), likely=False):
            self._type_error(
                *(builder, "%s takes %zd arguments, not %zd"),
                *(self._texts(name), LONG(count), made.args[2]),
            )
        return made, builder, builder.bitcast(made.args[1], POINTER.as_pointer())

    def _body(self, name: str, kernel: Kernel, symbol: str) -> Any:
        made, builder, arguments = self._begin(name, f"entry.{symbol}", len(kernel.types))
        objects = [
            builder.load(builder.gep(arguments, [LONG(i)])) for i in range(len(kernel.types))
        ]
        given = list(enumerate(zip(objects, kernel.types, strict=True)))
        values: list[Any] = [None] * len(given)
        for i, (number, kind) in given:
            if isinstance(kind, types.Integer | types.Float):
                values[i] = self._number(builder, number, kind)
        # Arrays last: what says that it is a number may run any code, and resize them.
        for i, (array, kind) in given:
            if isinstance(kind, types.Array):
                fits = self._fits(builder, array, kind)
                with builder.if_then(builder.not_(fits), likely=False):
                    self._refuse(builder, name, i, _words(kind))
                values[i] = self._array(builder, array, kind)
            elif values[i] is None:
                raise TypeError(f"{name}: no entry for an argument of {kind}")
        builder.ret(self._result(builder, kernel, self._call(builder, kernel, values)))
        return made

    def _call(self, builder: Any, kernel: Kernel, values: list[Any]) -> Any:
        convention, described = self._context.call_conv, kernel.descriptor
        signature = convention.get_function_type(described.restype, described.argtypes)
        function = declare(
            self.module, described.llvm_func_name, signature.return_type, *signature.args
        )
        if kernel.releases:
            state = builder.call(self._lock.give, [])
        status, result = convention.call_function(
            builder, function, described.restype, described.argtypes, values
        )
        if kernel.releases:
            builder.call(self._lock.take, [state])
        with builder.if_then(status.is_error, likely=False):
            given = builder.bitcast(status.excinfoptr, POINTER)
            builder.ret(builder.call(self._raise, [given]))
        return result

    def _result(self, builder: Any, kernel: Kernel, result: Any) -> Any:
        kind = kernel.descriptor.restype
        if isinstance(kind, types.NoneType):
            none = external(self.module, "_Py_NoneStruct").bitcast(POINTER)
            builder.call(self._declare("Py_IncRef", VOID, POINTER), [none])
            return none
        if not isinstance(kind, types.BaseTuple):
            return self._boxed(builder, result, kind)
        letters, values = "", []
        for i, part in enumerate(kind.types):
            value = builder.extract_value(result, i)
            wide = isinstance(part, types.Integer) or part.bitwidth == 64
            values.append(value if wide else builder.fpext(value, DOUBLE))
            letters += "L" if isinstance(part, types.Integer) else "d"
        build = self._declare("Py_BuildValue", POINTER, POINTER, more=True)
        return builder.call(build, [self._texts(f"({letters})"), *values])

    def _refuse(self, builder: Any, name: str, position: int, wanted: str) -> None:
        self._type_error(
            *(builder, "%s: argument %zd is not %s"),
            *(self._texts(name), LONG(position), self._texts(wanted)),
        )

    def _type_error(self, builder: Any, says: str, *of: Any) -> None:
        raised = builder.load(external(self.module, "PyExc_TypeError"))
        format_error = self._declare("PyErr_Format", POINTER, POINTER, POINTER, more=True)
        builder.ret(builder.call(format_error, [raised, self._texts(says), *of]))

    # --- the module -------------------------------------------------------------------------------

    def initializer(self, methods: list[tuple[str, Any]]) -> None:
        """``PyInit``: looks numpy's type of arrays up, and makes a module of the functions."""
        method = ir.LiteralStructType([POINTER, POINTER, INT, POINTER])
        fast = INT(0x80)  # METH_FASTCALL
        rows = [
            ir.Constant(method, [self._texts(name), made.bitcast(POINTER), fast, NULL])
            for name, made in methods
        ]
        rows.append(ir.Constant(method, [NULL, NULL, INT(0), NULL]))
        table = ir.GlobalVariable(self.module, ir.ArrayType(method, len(rows)), "methods")
        table.linkage = "internal"
        table.initializer = ir.Constant(table.value_type, rows)
        builder = ir.IRBuilder(
            ir.Function(
                self.module, ir.FunctionType(POINTER, []), f"PyInit_{MODULE}"
            ).append_basic_block()
        )
        import_module = self._declare("PyImport_ImportModule", POINTER, POINTER)
        numpy = builder.call(import_module, [self._texts("numpy")])
        with builder.if_then(builder.icmp_unsigned("==", numpy, NULL)):
            builder.ret(NULL)
        get = self._declare("PyObject_GetAttrString", POINTER, POINTER, POINTER)
        ndarray = builder.call(get, [numpy, self._texts("ndarray")])
        builder.call(self._declare("Py_DecRef", VOID, POINTER), [numpy])
        with builder.if_then(builder.icmp_unsigned("==", ndarray, NULL)):
            builder.ret(NULL)
        builder.store(ndarray, self._ndarray)
        create = self._declare("PyModule_Create2", POINTER, POINTER, INT)
        version = INT(3)  # PYTHON_ABI_VERSION
        builder.ret(builder.call(create, [self._definition(table).bitcast(POINTER), version]))

    def _definition(self, table: Any) -> Any:
        """``PyModuleDef``: its head of five, name, doc, size, methods, slots and three hooks."""
        head = [(LONG, LONG(1)), (POINTER, NULL), (POINTER, NULL), (LONG, LONG(0)), (POINTER, NULL)]
        fields = [
            *head,
            (POINTER, self._texts(MODULE)),
            (POINTER, NULL),
            (LONG, LONG(-1)),
            (POINTER, table.bitcast(POINTER)),
            *[(POINTER, NULL)] * 4,
        ]
        kind = ir.LiteralStructType([kind for kind, _ in fields])
        made = ir.GlobalVariable(self.module, kind, "definition")
        made.linkage = "internal"
        made.initializer = ir.Constant(kind, [value for _, value in fields])
        return made


def _differ(signatures: list[Kernel], i: int) -> bool:
    return len({str(kernel.types[i]) for kernel in signatures}) > 1


def _words(kind: Any) -> str:
    writable = "writable " if kind.mutable else ""
    return f"a {writable}C-contiguous, aligned array of {kind.dtype} with {kind.ndim} dimensions"

"""All kernels for one processor, as one object file that needs no numba."""

from __future__ import annotations

import importlib
import pkgutil
import sys
import types
from pathlib import Path
from typing import Any

import llvmlite.binding as llvm
from numba.core import cgutils
from numba.core.compiler_lock import global_compiler_lock
from numba.core.dispatcher import Dispatcher
from numba.core.registry import cpu_target

from kernel_compiler import entries, exceptions, runtime

UNDEFINED = frozenset(
    {
        *("PyErr_Format", "PyErr_Occurred", "PyErr_SetString"),
        *("PyEval_RestoreThread", "PyEval_SaveThread"),
        *("PyFloat_AsDouble", "PyFloat_FromDouble"),
        *("PyImport_ImportModule", "PyModule_Create2", "PyObject_GetAttrString"),
        *("PyLong_AsLongLong", "PyLong_AsUnsignedLongLong", "PyLong_FromLongLong"),
        *("PyNumber_Index", "Py_BuildValue", "PyType_IsSubtype", "Py_DecRef", "Py_IncRef"),
        *("PyExc_MemoryError", "PyExc_RuntimeError", "PyExc_TypeError", "PyExc_ValueError"),
        *("PyExc_ZeroDivisionError", "_Py_NoneStruct"),
        *("free", "malloc", "memcpy", "memmove", "memset"),
        *("erfc", "exp", "log", "sqrt", "sqrtf"),
    }
)
"""What a library may ask of Python's stable ABI, of libc and of libm, by names that have been there
forever. A line of a kernel that drags in more is noticed here."""


class Undefined(Exception):
    """A kernel needs what is not in `UNDEFINED`."""


def kernels(sources: Path) -> dict[str, list[entries.Kernel]]:
    """Every public kernel, compiled: ``"topk.topk_sort"`` to its signatures."""
    package = types.ModuleType("vecdb")  # the rest of it needs what a build does not
    package.__path__ = [str(sources.parent)]
    sys.modules["vecdb"] = package
    found: dict[str, list[entries.Kernel]] = {}
    for name in sorted(module.name for module in pkgutil.iter_modules([str(sources)])):
        module = importlib.import_module(f"vecdb.kernels.{name}")
        for attribute, kernel in vars(module).items():
            if not isinstance(kernel, Dispatcher) or attribute.startswith("_"):
                continue
            if kernel.py_func.__module__ == module.__name__:
                found[f"{name}.{attribute}"] = [
                    entries.Kernel(
                        tuple(compiled.signature.args),
                        compiled.fndesc,
                        bool(kernel.targetoptions.get("nogil")),
                    )
                    for compiled in kernel.overloads.values()
                ]
                _compiled.extend(kernel.overloads.values())
    return found


_compiled: list[Any] = []


def emit(sources: Path, cpu: str, features: str) -> bytes:
    """The object file. Raises Undefined and `exceptions.Unknown`."""
    found = kernels(sources)
    context = cpu_target.target_context
    codegen = context.codegen()
    triple, layout = codegen._llvm_module.triple, codegen._data_layout
    linked = llvm.parse_assembly(f'target datalayout = "{layout}"\ntarget triple = "{triple}"\n')
    # Kernels can be left out (linkonce): entries come first, and only what they ask for is linked.
    _link(linked, entries.module(context, triple, layout, found))
    with global_compiler_lock:
        for compiled in _compiled:
            linked.link_in(compiled.library._get_module_for_linking().clone())
    text = exceptions.as_text(runtime.without_atomic_counts(str(linked)))
    linked = llvm.parse_assembly(text)
    _link(linked, runtime.module(triple, layout))
    _hide(linked)
    machine = llvm.Target.from_triple(triple).create_target_machine(
        cpu=cpu, features=features, opt=3, reloc="pic", codemodel="small"
    )
    _optimize(linked, machine)
    undefined = {f.name for f in linked.functions if f.is_declaration}
    undefined |= {variable.name for variable in linked.global_variables if variable.is_declaration}
    more = {name for name in undefined if not name.startswith("llvm.")} - UNDEFINED
    if more:
        raise Undefined(f"kernels need {', '.join(sorted(more))}")
    return bytes(machine.emit_object(linked))


def _link(into: Any, module: Any) -> None:
    parsed = llvm.parse_assembly(cgutils.normalize_ir_text(str(module)))
    parsed.verify()
    into.link_in(parsed)


def _hide(module: Any) -> None:
    """All but ``PyInit`` becomes internal: copies that nothing refers to are dropped."""
    for function in module.functions:
        if not function.is_declaration and function.name != f"PyInit_{entries.MODULE}":
            function.linkage = "internal"
    for variable in module.global_variables:
        if not variable.is_declaration and variable.linkage not in (
            llvm.Linkage.private,
            llvm.Linkage.internal,
        ):
            variable.linkage = "internal"


def _optimize(module: Any, machine: Any) -> None:
    """Numba has optimized each kernel; the runtime is inlined now, and what nobody needs goes."""
    tidy = llvm.create_new_module_pass_manager()
    tidy.add_always_inliner_pass()
    tidy.add_global_dead_code_eliminate_pass()
    tidy.add_instruction_combine_pass()
    options = llvm.create_pipeline_tuning_options(speed_level=3)
    options.loop_vectorization = options.slp_vectorization = True
    builder = llvm.create_pass_builder(machine, options)
    tidy.run(module, builder)
    builder.getModulePassManager().run(module, builder)
    tidy.run(module, builder)
    module.verify()

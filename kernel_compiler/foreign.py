"""Compiling for a machine of another kind than this one.

Numba compiles for the machine it runs on, and hands what it made to an engine that runs it. What
cannot be run here goes to no engine; all else is LLVM's, which knows every machine.
"""

from __future__ import annotations

from typing import Any

import llvmlite.binding as llvm
from numba import _dynfunc
from numba.core import codegen, config, cpu, dispatcher
from numba.core.runtime import nrtdynmod, rtsys

_TRIPLES = {"aarch64": "aarch64-unknown-linux-gnu", "x86_64": "x86_64-unknown-linux-gnu"}


class _NoEngine:
    """Stands for the engine: what it is asked for is there, at address zero."""

    def __init__(self, machine: Any) -> None:
        self.target_data = machine.target_data

    def is_symbol_defined(self, name: str) -> bool:
        return True

    def get_function_address(self, name: str) -> int:
        return 0

    def get_global_value_address(self, name: str) -> int:
        return 0

    def __getattr__(self, name: str) -> Any:
        return lambda *arguments: None


def prepare(machine: str, name: str, features: str) -> None:
    """From now on numba compiles for that machine and processor. Before any kernel is imported."""
    triple = _TRIPLES[machine]
    llvm.initialize_all_targets()
    llvm.initialize_all_asmprinters()
    llvm.get_process_triple = lambda: triple
    config.CPU_NAME, config.CPU_FEATURES = name, features

    def begin(self: Any, module: Any) -> None:
        target = llvm.Target.from_triple(triple).create_target_machine(
            cpu=name, features=features, opt=3, reloc="pic", codemodel="default"
        )
        self._tm, self._tm_features = target, features
        self._engine = _NoEngine(target)
        self._target_data, self._data_layout = target.target_data, str(target.target_data)
        self._loopvect, self._opt_level = False, 0

    def executable(self: Any, library: Any, described: Any, environment: Any) -> Any:
        function = described.qualname.split(".")[-1]
        return _dynfunc.make_function(
            described.lookup_module(), function, "", 1, environment, (library,)
        )

    def initialize(self: Any, context: Any) -> None:
        if not self._init:
            self._library = nrtdynmod.compile_nrt_functions(context)
            self._ctx, self._init = context, True

    codegen.CPUCodegen._init = begin
    codegen.JITCPUCodegen.set_env = lambda self, name, environment: None
    cpu.CPUContext.get_executable = executable
    dispatcher.Dispatcher.enable_caching = lambda self: None
    type(rtsys).initialize = initialize

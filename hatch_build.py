"""Compiles the kernels for wheels, and for the checkout of an editable install.

Where that cannot be done (another kind of machine or Python, no linker, a failure) or is not wanted
(``VECDB_COMPILE=0``), the wheel is pure Python, and that wheel requires numba, which compiles
kernels when they are called. With ``VECDB_COMPILE=1`` the build fails instead.
``VECDB_MACHINE=aarch64`` makes the wheel of another machine, ``VECDB_PLATFORM`` is its tag.
"""

from __future__ import annotations

import os
import platform
import sys
import tempfile
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

NUMBA = "numba>=0.60"


class Kernels(BuildHookInterface):
    """Hatchling's hook of a build."""

    PLUGIN_NAME = "custom"

    def dependencies(self) -> list[str]:
        """What building takes besides hatchling."""
        self._find_compiler_package()
        from kernel_compiler import building, linking

        if self._wish() == "0" or not building.processors(self._machine(), this_one=False):
            return []
        here = self._machine() == platform.machine() and linking.compiler() is not None
        return [NUMBA] if here else [NUMBA, "ziglang"]

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Compile, and say what the wheel is; ``version`` is ``standard`` or ``editable``."""
        if self.target_name != "wheel":
            return
        libraries = self._libraries(editable=version == "editable")
        if not libraries:
            build_data["dependencies"].append(NUMBA)
            return
        build_data["pure_python"] = False
        build_data["tag"] = f"cp310-abi3-{self._platform()}"
        for path in libraries if version == "standard" else ():  # else they are where they are used
            build_data["force_include"][str(path)] = f"vecdb/kernels/compiled/{path.name}"

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:
        """Remove what was compiled for a wheel."""
        if self._place is not None:
            self._place.cleanup()

    _place: tempfile.TemporaryDirectory[str] | None = None

    def _libraries(self, *, editable: bool) -> list[Path]:
        self._find_compiler_package()
        from kernel_compiler import building

        wish = self._wish()
        wanted = building.processors(self._machine(), this_one=editable)
        if wish == "0" or (not wanted and wish == ""):
            return []
        try:
            if not wanted:
                raise RuntimeError("not for this machine or Python")
            # In the sources, where the next build finds them: pip builds twice. Or beside, if these
            # cannot be written.
            if os.access(building.SOURCES, os.W_OK):
                return building.build(wanted)
            self._place = tempfile.TemporaryDirectory(prefix="vecdb-wheel-")
            return building.build(wanted, Path(self._place.name))
        except (RuntimeError, OSError) as error:
            if wish == "1":
                raise
            self.app.display_warning(f"kernels are not compiled, numba will do it: {error}")
            return []

    def _wish(self) -> str:
        wish = os.environ.get("VECDB_COMPILE", "")
        if wish not in ("", "0", "1"):
            raise ValueError(f"VECDB_COMPILE is {wish!r}; expected 0, 1 or nothing")
        return wish

    def _find_compiler_package(self) -> None:
        if self.root not in sys.path:
            sys.path.insert(0, self.root)

    def _machine(self) -> str:
        return os.environ.get("VECDB_MACHINE", platform.machine())

    def _platform(self) -> str:
        """Of the wheel's name. The libraries ask for no version of libc: any Linux will do."""
        return os.environ.get("VECDB_PLATFORM", f"linux_{self._machine()}")

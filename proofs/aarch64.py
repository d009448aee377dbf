"""The kernels of aarch64 do what their tests say, in an emulator.

    python -m proofs.aarch64 --directory DIR [-- TESTS ...]

Makes the wheel of that machine here, lays a Python of Debian's with the packages that it needs into
DIR, and runs tests (``tests/unit/test_kernels.py``, and what else is named) with
``qemu-aarch64-static``. Takes Debian, its package qemu-user-static, and an hour for all kernels'
tests; nothing is installed. Not part of CI.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
EMULATOR = "qemu-aarch64-static"
SYSTEM = (
    *("python3.11-minimal", "libpython3.11-minimal", "libpython3.11-stdlib", "libc6", "zlib1g"),
    *("libexpat1", "libssl3", "libffi8", "libbz2-1.0", "liblzma5", "libsqlite3-0", "libuuid1"),
    *("libgcc-s1", "libstdc++6"),
)
PACKAGES = (
    *("numpy", "lmdb", "mmh3", "msgspec", "msgpack", "xxhash", "psutil", "py-rust-stemmers"),
    "tqdm",
)
TESTING = ("pytest>=8", "pytest-timeout", "hypothesis")
PLATFORMS = ("manylinux2014_aarch64", "manylinux_2_27_aarch64", "manylinux_2_28_aarch64")


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--directory", type=Path, required=True, help="what is fetched stays here")
    parser.add_argument("tests", nargs="*", default=["tests/unit/test_kernels.py"])
    options = parser.parse_args()
    if shutil.which(EMULATOR) is None:
        parser.error(f"{EMULATOR} is not here: apt-get install qemu-user-static")
    place: Path = options.directory.resolve()
    for make in (system, packages, vecdb):
        make(place)
    return run(place, options.tests)


def system(place: Path) -> None:
    """A Python of Debian's, unpacked below ``root``."""
    root, archives = place / "root", place / "archives"
    if root.exists():
        return
    archives.mkdir(parents=True, exist_ok=True)
    (place / "lists" / "partial").mkdir(parents=True, exist_ok=True)
    apt = ["apt-get", "-qq", "-o", "APT::Architecture=arm64", "-o", "APT::Architectures=arm64"]
    apt += ["-o", f"Dir::State::Lists={place / 'lists'}", "-o", "Dir::State::Status=/dev/null"]
    apt += ["-o", f"Dir::Cache={place / 'cache'}", "-o", "APT::Sandbox::User=root"]
    subprocess.run([*apt, "update"], check=True)
    subprocess.run([*apt, "download", *SYSTEM], cwd=archives, check=True)
    for archive in sorted(archives.glob("*.deb")):
        subprocess.run(["dpkg", "-x", archive, root], check=True)


def packages(place: Path) -> None:
    """The packages of that machine, unpacked into ``site``."""
    if (place / "site").exists():
        return
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--only-binary=:all:"]
    command += ["--python-version=3.11", f"--dest={place / 'wheels'}"]
    command += [f"--platform={name}" for name in PLATFORMS]
    subprocess.run([*command, *PACKAGES, *TESTING], check=True)
    for wheel in sorted((place / "wheels").glob("*.whl")):
        zipfile.ZipFile(wheel).extractall(place / "site")


def vecdb(place: Path) -> None:
    """The wheel of this checkout, compiled for that machine, into ``site``."""
    shutil.rmtree(place / "site" / "vecdb", ignore_errors=True)
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps"]
    subprocess.run(
        [*command, f"--wheel-dir={place / 'own'}", str(ROOT)],
        env={**os.environ, "VECDB_COMPILE": "1", "VECDB_MACHINE": "aarch64"},
        check=True,
    )
    [wheel] = (place / "own").glob("vecdb_embedded-*_aarch64.whl")
    zipfile.ZipFile(wheel).extractall(place / "site")


def run(place: Path, tests: list[str]) -> int:
    """The tests, on the wheel; the exit code of pytest."""
    for name in ("tests", "proofs"):
        shutil.copytree(ROOT / name, place / name, dirs_exist_ok=True)
    python = [EMULATOR, "-L", str(place / "root"), str(place / "root/usr/bin/python3.11")]
    environment = {
        **os.environ,
        "PYTHONPATH": str(place / "site"),
        "PYTHONDONTWRITEBYTECODE": "1",
        "OPENBLAS_NUM_THREADS": "1",
    }
    loaded = "from vecdb.kernels import compiling, library; print(library.path().name); "
    loaded += "assert compiling.LIBRARY is not None"
    subprocess.run([*python, "-c", loaded], env=environment, check=True)
    # The emulator raises flags of the processor that nobody has asked for: no warnings.
    command = ["-m", "pytest", "-q", "-p", "no:cacheprovider", "-W", "ignore", "--timeout=3000"]
    command += ["-o", "addopts=", "-c", "/dev/null", f"--rootdir={place}", "-m", "not slow"]
    command += ["-o", f"pythonpath={place}"]
    return subprocess.run([*python, *command, *tests], cwd=place, env=environment).returncode


if __name__ == "__main__":
    sys.exit(main())

"""Clients: Qdrant's clients for Go, Java, JavaScript and Rust, on ``vecdb serve``.

    python -m proofs.clients                    builds all four (the network, minutes), runs them
    python -m proofs.clients --only go
    python -m proofs.clients --directory DIR    keeps what was built, and uses it

Each program makes a quantized collection, writes points, reads them back by queries with a filter
and with quantization parameters, deletes, and says so if an answer is not what it should be. Each
runs on either engine of gRPC. It needs the compiler or the interpreter of its language.

Exit code 0: all of them did everything.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_HERE = Path(__file__).parent
_GO = "github.com/qdrant/go-client@v1.17.1"
_JS = "@qdrant/js-client-grpc@1.19.0"
_RUST = ("qdrant-client@1.20.0", "serde_json@1", "tokio@1")


def _build_go(directory: Path) -> list[str]:
    shutil.copy(_HERE / "main.go", directory)
    if not (directory / "go.mod").exists():
        _run(directory, "go", "mod", "init", "client")
        _run(directory, "go", "get", _GO)
        _run(directory, "go", "mod", "tidy")
    _run(directory, "go", "build", "-o", "client", ".")
    return [str(directory / "client")]


def _build_java(directory: Path) -> list[str]:
    shutil.copy(_HERE / "pom.xml", directory)
    sources = directory / "src" / "main" / "java"
    sources.mkdir(parents=True, exist_ok=True)
    shutil.copy(_HERE / "Main.java", sources)
    _run(directory, "mvn", "-q", "-B", "package", "dependency:copy-dependencies")
    return ["java", "-cp", f"{directory}/target/*:{directory}/target/dependency/*", "Main"]


def _build_js(directory: Path) -> list[str]:
    shutil.copy(_HERE / "main.mjs", directory)
    if not (directory / "node_modules").exists():
        _run(directory, "npm", "install", "--no-audit", "--no-fund", _JS)
    return ["node", str(directory / "main.mjs")]


def _build_rust(directory: Path) -> list[str]:
    if not (directory / "Cargo.toml").exists():
        _run(directory, "cargo", "init", "--quiet", "--name", "client")
        _run(directory, "cargo", "add", "--quiet", *_RUST, "--features", "tokio/full")
    shutil.copy(_HERE / "main.rs", directory / "src")
    _run(directory, "cargo", "build", "--quiet")
    return [str(directory / "target" / "debug" / "client")]


_BUILDERS = {"go": _build_go, "java": _build_java, "js": _build_js, "rust": _build_rust}


def _run(directory: Path, *words: str) -> None:
    subprocess.run(words, cwd=directory, check=True)


@contextmanager
def _serving(engine: str) -> Iterator[str]:
    """The port of a server's gRPC."""
    with tempfile.TemporaryDirectory() as directory:
        words = ("serve", f"{directory}/db", "--port", "0", "--grpc-engine", engine)
        process = subprocess.Popen(
            [sys.executable, "-m", "vecdb", *words], stdout=subprocess.PIPE, text=True
        )
        assert process.stdout is not None
        process.stdout.readline()
        try:
            yield process.stdout.readline().split(":")[1].partition(".")[0]
        finally:
            process.terminate()
            process.communicate()


def main() -> int:
    """Build and run what is asked for."""
    parser = argparse.ArgumentParser(prog="python -m proofs.clients")
    parser.add_argument("--only", nargs="+", choices=_BUILDERS, default=list(_BUILDERS))
    parser.add_argument("--directory", type=Path, help="where to build")
    arguments = parser.parse_args()
    failed = 0
    with tempfile.TemporaryDirectory() as temporary:
        for name in arguments.only:
            directory = (arguments.directory or Path(temporary)).absolute() / name
            directory.mkdir(parents=True, exist_ok=True)
            command = _BUILDERS[name](directory)
            for engine in ("grpcio", "h2"):
                with _serving(engine) as port:
                    done = subprocess.run([*command, port], capture_output=True, text=True)
                good = done.returncode == 0 and done.stdout.endswith(f"{name}: all\n")
                failed += not good
                print(f"{name} on {engine}: {'all' if good else 'failed'}")
                if not good:
                    print(done.stdout, done.stderr, sep="\n")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())

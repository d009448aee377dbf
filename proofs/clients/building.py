"""Building: the clients, of which version each is, and how its programs come to run."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

_HERE = Path(__file__).parent

Commands = dict[str, list[str]]
"""By the name of a program, what runs it; the ports of HTTP and of gRPC follow."""


@dataclass(frozen=True)
class Client:
    """One client of one version. ``packages``: pinned, in the way of its language (cargo takes a
    version for that or a later one, unless ``=`` comes before it). ``programs``: by their names,
    the files in this folder. ``grpc``: whether it speaks that."""

    name: str
    packages: tuple[str, ...]
    programs: dict[str, str]
    build: Callable[[Client, Path], Commands]
    grpc: bool = True


def _python(client: Client, directory: Path) -> Commands:
    python = sys.executable
    if client.packages:
        python = str(directory / "venv" / "bin" / "python")
        if not Path(python).exists():
            _run(directory, sys.executable, "-m", "venv", "venv")
            pip = (python, "-m", "pip", "--disable-pip-version-check", "-q")
            _run(directory, *pip, "install", *client.packages)
    return {name: [python, str(_HERE / file)] for name, file in client.programs.items()}


def _typescript(client: Client, directory: Path) -> Commands:
    """Compiled by TypeScript's own compiler, which checks all uses of the package's types."""
    for file in ("tsconfig.json", "page.ts", *client.programs.values()):
        shutil.copy(_HERE / file, directory)
    if not (directory / "node_modules").exists():
        (directory / "package.json").write_text('{"private": true, "type": "module"}\n')
        _run(
            directory,
            "npm",
            "install",
            "--no-audit",
            "--no-fund",
            "--loglevel=error",
            *client.packages,
        )
    _run(directory, "node", "node_modules/typescript/bin/tsc")
    return {
        name: ["node", str((directory / file).with_suffix(".js"))]
        for name, file in client.programs.items()
    }


def _rust(client: Client, directory: Path) -> Commands:
    programs = directory / "src" / "bin"
    if not (directory / "Cargo.toml").exists():
        _run(directory, "cargo", "init", "--quiet", "--lib", "--vcs", "none", "--name", "client")
        for words in client.packages:
            _run(directory, "cargo", "add", "--quiet", *words.split())
        programs.mkdir()
    (programs / "page").mkdir(exist_ok=True)  # a folder, so that it is no program
    shutil.copy(_HERE / "page.rs", programs / "page" / "mod.rs")
    for file in client.programs.values():
        shutil.copy(_HERE / file, programs)
    # What is only to run takes half the time without what a debugger needs.
    _run(directory, "cargo", "build", "--quiet", "--config", "profile.dev.debug=false")
    built = directory / "target" / "debug"
    return {name: [str(built / Path(file).stem)] for name, file in client.programs.items()}


def _go(client: Client, directory: Path) -> Commands:
    shutil.copy(_HERE / "main.go", directory)
    if not (directory / "go.mod").exists():
        _run(directory, "go", "mod", "init", "client")
        _run(directory, "go", "get", *client.packages)
        _run(directory, "go", "mod", "tidy")
    _run(directory, "go", "build", "-o", "client", ".")
    return {"main": [str(directory / "client")]}


def _java(client: Client, directory: Path) -> Commands:
    shutil.copy(_HERE / "pom.xml", directory)
    sources = directory / "src" / "main" / "java"
    sources.mkdir(parents=True, exist_ok=True)
    shutil.copy(_HERE / "Main.java", sources)
    _run(directory, "mvn", "-q", "-B", "package", "dependency:copy-dependencies")
    classes = f"{directory}/target/*:{directory}/target/dependency/*"
    return {"main": ["java", "-cp", classes, "Main"]}


def _run(directory: Path, *words: str) -> None:
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    subprocess.run(words, cwd=directory, check=True, env=environment, stdin=subprocess.DEVNULL)


_COMPILER = ("typescript@5.9.3", "@types/node@20.19.43")
_RUST_NEEDS = ("tokio@1 --features macros,rt-multi-thread", "serde_json@1")

CLIENTS = (
    Client("http", (), {"page": "page_http.py"}, _python, grpc=False),
    Client("python", ("qdrant-client==1.20.0",), {"page": "page.py"}, _python),
    Client("python-1.15", ("qdrant-client==1.15.1",), {"page": "page.py"}, _python),
    Client(
        "typescript",
        ("@qdrant/js-client-rest@1.19.0", "@qdrant/js-client-grpc@1.19.0", *_COMPILER),
        {"page": "page_query.ts", "main": "main.ts"},
        _typescript,
    ),
    Client(
        "typescript-1.18",
        ("@qdrant/js-client-rest@1.18.0", *_COMPILER),
        {"page": "page_search.ts"},
        _typescript,
        grpc=False,
    ),
    Client(
        "rust",
        ("qdrant-client@=1.20.0 --no-default-features --features serde", *_RUST_NEEDS),
        {"page": "page_query.rs", "main": "main.rs"},
        _rust,
    ),
    Client(
        "rust-1.12",
        ("qdrant-client@=1.12.1 --no-default-features", *_RUST_NEEDS),
        {"page": "page_search.rs"},
        _rust,
    ),
    Client("go", ("github.com/qdrant/go-client@v1.17.1",), {"main": "main.go"}, _go),
    Client("java", ("io.qdrant:client:1.17.0",), {"main": "Main.java"}, _java),
)

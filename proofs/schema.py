"""Schema: requests made up from a description of the interface, on ``vecdb serve``.

    python -m proofs.schema                       by its own description: minutes, the network
    python -m proofs.schema --description FILE    by another, such as Qdrant's openapi.json
    python -m proofs.schema --examples 500 --seed 7

Schemathesis is installed with a pinned version. It makes requests that the description allows, and
others that it does not, for every operation: first on a collection that is there, then, for what
makes and removes collections, on any. None may have a status of 500 or more.

Exit code 0: none had, and the server is as well as before.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path

import httpx

from proofs.arguments import at_least_one
from proofs.serving import Server, serving

_SCHEMATHESIS = "schemathesis==4.32.5"
_COLLECTION = "c"
_OF_COLLECTIONS = "^(create_collection|delete_collection|update_aliases)"
"""Operations after which that one may be gone."""
_PHASES = "examples,coverage,fuzzing"
_POINTS = 50


def install(directory: Path) -> Path:
    """The command, in an environment of its own. Raises CalledProcessError."""
    command = directory / "venv" / "bin" / "schemathesis"
    if not command.exists():
        python = str(directory / "venv" / "bin" / "python")
        for words in (
            (sys.executable, "-m", "venv", str(directory / "venv")),
            (python, "-m", "pip", "-q", "install", _SCHEMATHESIS),
        ):
            subprocess.run(words, check=True, stdin=subprocess.DEVNULL)
    return command


def fill(http: httpx.Client) -> None:
    """A collection that requests can be about."""
    path = f"/collections/{_COLLECTION}"
    size = {"size": 4, "distance": "Cosine"}
    http.put(path, json={"vectors": size}).raise_for_status()
    points = [
        {"id": n, "vector": [1, 2, 3, n], "payload": {"a": n, "city": "Oslo"}}
        for n in range(_POINTS)
    ]
    http.put(f"{path}/points", json={"points": points}).raise_for_status()


def run(
    command: Path, server: Server, description: str, examples: int, seed: int, work: Path
) -> bool:
    """Both passes; whether all is well."""
    parameters = f'"path.collection_name" = "{_COLLECTION}"\n"path.shard_id" = "0"\n'
    passes = {
        "on-one": (f"[parameters]\n{parameters}", "--exclude-operation-id-regex"),
        "on-any": ("", "--include-operation-id-regex"),
    }
    good = True
    for name, (settings, filter) in passes.items():
        config = work / f"{name}.toml"
        config.write_text(settings)
        words = [str(command), "--config-file", str(config), "run", description]
        words += ["--url", server.url, "--checks", "not_a_server_error", "--continue-on-failure"]
        words += ["--phases", _PHASES, "--max-examples", str(examples), "--seed", str(seed)]
        words += [filter, _OF_COLLECTIONS, "--exclude-path", "/readyz", "--warnings", "off"]
        done = subprocess.run(words, cwd=work, stdin=subprocess.DEVNULL)
        good &= done.returncode == 0
    return good


def main() -> int:
    """Install it, start a server, ask it."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--description", type=Path, help="in the form of OpenAPI; else our own")
    parser.add_argument("--examples", type=at_least_one, default=100, help="of an operation (100)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--directory", type=Path, help="for what is installed; kept")
    options = parser.parse_args()
    if options.description is not None and not options.description.is_file():
        parser.error(f"--description: expected a file, got {options.description}")
    with ExitStack() as stack:
        work = options.directory
        if work is None:
            temporary = tempfile.TemporaryDirectory(prefix="vecdb-schema-")
            work = Path(stack.enter_context(temporary))
        work = work.absolute()
        work.mkdir(parents=True, exist_ok=True)
        command = install(work)
        server = stack.enter_context(serving("--sync", "never"))
        http = stack.enter_context(httpx.Client(base_url=server.url, trust_env=False, timeout=60))
        fill(http)
        description = f"{server.url}/openapi.json"
        if options.description is not None:
            description = str(options.description.absolute())
        good = run(command, server, description, options.examples, options.seed, work)
        good &= http.get("/readyz").status_code == 200
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())

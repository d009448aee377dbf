"""Clients: Qdrant's clients for Python, TypeScript, Rust, Go and Java, on ``vecdb serve``.

    python -m proofs.clients                         all of them: ten minutes, the network
    python -m proofs.clients --only typescript rust
    python -m proofs.clients --directory DIR         keeps what was built, and uses it
    python -m proofs.clients --list                  the clients and their versions

Two kinds of programs, of which a client has one or both. The *page* is the eight examples of
Qdrant's page on quantization: five collections, three searches of each. Old clients do what it says
to the letter, new ones with ``query`` in the place of ``search``. The *main* program makes a
quantized collection, writes points, reads them with a filter and with quantization parameters, and
deletes. Either says so if an answer is not what it should be. What speaks gRPC runs on both engines
of it. Each needs the compiler or the interpreter of its language.

Exit code 0: all of them did everything.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from proofs.clients.building import CLIENTS, Client
from proofs.serving import serving

_MINUTES = 5


def run(client: Client, directory: Path) -> bool:
    """Build the programs of a client and run them; whether all is well."""
    began = time.monotonic()
    try:
        commands = client.build(client, directory)
    except subprocess.CalledProcessError as error:
        print(f"{client.name}: FAILED to be built: {error}", flush=True)
        return False
    print(f"{client.name}: built in {time.monotonic() - began:.0f} s", flush=True)
    good = True
    for engine in ("grpcio", "h2") if client.grpc else ("grpcio",):
        with serving("--grpc-engine", engine) as server:
            for program, command in commands.items():
                done = subprocess.run(
                    [*command, str(server.port), str(server.grpc_port)],
                    capture_output=True,
                    text=True,
                    timeout=_MINUTES * 60,
                )
                well = done.returncode == 0 and done.stdout.endswith(f"{program}: all\n")
                good &= well
                on = f" on {engine}" if client.grpc else ""
                print(f"{client.name}: {program}{on}: {'all' if well else 'FAILED'}", flush=True)
                if not well:
                    print(done.stdout, done.stderr, sep="\n")
    return good


def main() -> int:
    """Build and run what is asked for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    names = [client.name for client in CLIENTS]
    parser.add_argument("--only", nargs="+", choices=names, default=names, metavar="NAME")
    parser.add_argument("--directory", type=Path, help="where to build; kept")
    parser.add_argument("--list", action="store_true", help="the clients and their versions")
    options = parser.parse_args()
    chosen = [client for client in CLIENTS if client.name in options.only]
    if options.list:
        for client in chosen:
            print(f"{client.name:16} {', '.join(client.packages)}")
        return 0
    with tempfile.TemporaryDirectory(prefix="vecdb-clients-") as temporary:
        good = True
        for client in chosen:
            directory = (options.directory or Path(temporary)).absolute() / client.name
            directory.mkdir(parents=True, exist_ok=True)
            good &= run(client, directory)
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())

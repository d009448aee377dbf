"""``vecdb serve``: answer programs in any language, as a Qdrant server does."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from vecdb.cli.command import Commands, add_command, path, print_json, size_of
from vecdb.errors import InvalidInputError

_NEEDS = "vecdb serve needs more packages: pip install 'vecdb-embedded[server]'"


def add_to(commands: Commands) -> None:
    """The command and its arguments."""
    command = add_command(
        commands,
        "serve",
        _serve,
        "answer programs in any language, as a Qdrant server does",
        "Open a database, or make it, and answer requests of Qdrant's HTTP interface, and gRPC, "
        "until Ctrl-C or SIGTERM. Keys come from the environment: VECDB_API_KEY, "
        "VECDB_ALT_API_KEY (both may do everything) and VECDB_READ_ONLY_API_KEY.",
        "vecdb serve my.db",
    )
    add = command.add_argument
    add("directory", metavar="DIR", type=path, help="the database")
    add("--host", help="where to listen (127.0.0.1)")
    add("--port", type=_port, help="0: any that is free (6333)")
    add("--grpc-port", metavar="PORT", type=_port, help="for gRPC (6334; any, if --port is 0)")
    add("--no-grpc", action="store_true", help="do not serve gRPC")
    add("--grpc-engine", choices=("grpcio", "h2"), default="grpcio", help="what carries it")
    add("--read-only", action="store_true", help="follow the process that writes to it")
    add("--workers", metavar="N", type=_positive, default=1, help="processes that answer (1)")
    add("--sync", choices=("always", "interval", "never"), default="always", help="see VecDB")
    add("--memory-limit", metavar="SIZE", help="as 512MB, of all processes together")
    add("--on-over-budget", choices=("raise", "demote"), default="raise", help="see VecDB")
    add("--insecure", action="store_true", help="listen to other machines without a key")
    add("--tls-cert", metavar="FILE", type=path, help="certificate; SIGHUP reads it again")
    add("--tls-key", metavar="FILE", type=path, help="its key")
    add("--tls-client-ca", metavar="FILE", type=path, help="callers need one of its certificates")
    add("--allowed-host", metavar="NAME", action="append", default=[], help="a name of this server")
    add("--cors-origin", metavar="URL", action="append", default=[], help="pages that may call it")
    add("--max-body-mb", metavar="N", type=_positive, default=32, help="of a request (32)")
    add("--max-in-flight", metavar="N", type=_positive, default=256, help="requests (256)")
    add("--lenient", action="store_true", help="leave out unknown fields of requests")
    add("--metrics-prefix", metavar="TEXT", default="", help="before the names in /metrics")
    add("--api-version", metavar="V", help="of Qdrant, that callers are told")
    add("--static-dir", metavar="DIR", type=path, help="a web interface, shown at /dashboard")
    add("--snapshot-urls", action="store_true", help="recover snapshots from http(s) URLs, too")
    add(
        "--snapshot-host",
        metavar="NAME",
        action="append",
        default=[],
        help="whose snapshots are fetched even if its address is not public",
    )
    add("--access-log", action="store_true", help="a line of JSON for each request, to stderr")


def _port(text: str) -> int:
    if not text.isdigit() or int(text) > 65535:
        raise argparse.ArgumentTypeError(f"expected 0 to 65535, got {text!r}")
    return int(text)


def _positive(text: str) -> int:
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"expected an integer >= 1, got {text!r}")
    return int(text)


def _serve(arguments: argparse.Namespace) -> int:
    try:
        from vecdb.server import logs, running, settings
    except ModuleNotFoundError as error:
        raise InvalidInputError(f"{_NEEDS} (there is no {error.name})") from None
    host, port, grpc_port = settings.address_of(os.environ)
    port = port if arguments.port is None else arguments.port
    if arguments.grpc_port is not None:
        grpc_port = arguments.grpc_port
    elif grpc_port is None:
        grpc_port = settings.GRPC_PORT if port else 0
    keys, read_only_key = settings.keys_of(os.environ)
    memory = size_of(arguments.memory_limit)
    if memory is not None:
        size_of(str(memory // arguments.workers))  # each process has room for what it needs
    chosen = settings.Settings(
        directory=Path(arguments.directory),
        host=host if arguments.host is None else arguments.host,
        port=port,
        grpc_port=None if arguments.no_grpc else grpc_port,
        grpc_engine=arguments.grpc_engine,
        sync=arguments.sync,
        read_only=arguments.read_only,
        workers=arguments.workers,
        memory_limit=memory,
        on_over_budget=arguments.on_over_budget,
        keys=keys,
        read_only_key=read_only_key,
        insecure=arguments.insecure,
        tls_cert=arguments.tls_cert,
        tls_key=arguments.tls_key,
        tls_client_ca=arguments.tls_client_ca,
        allowed_hosts=tuple(arguments.allowed_host),
        cors_origins=tuple(arguments.cors_origin),
        max_body_bytes=arguments.max_body_mb << 20,
        max_in_flight=arguments.max_in_flight,
        lenient=arguments.lenient,
        metrics_prefix=arguments.metrics_prefix,
        api_version=arguments.api_version or settings.API_VERSION,
        access_log=arguments.access_log,
        static_dir=arguments.static_dir,
        snapshot_urls=arguments.snapshot_urls,
        snapshot_hosts=tuple(name.lower() for name in arguments.snapshot_host),
    )
    problem, warning = chosen.problem(), chosen.warning()
    if problem is not None:
        raise InvalidInputError(problem)
    logs.log_to_stderr(chosen.access_log)
    if warning is not None:
        print(f"vecdb: {warning}", file=sys.stderr)

    def tell(url: str, grpc: str | None) -> None:
        if arguments.json:
            print_json({"listening": url, **({} if grpc is None else {"grpc": grpc})})
        else:
            mode = ", read only" if chosen.read_only else ""
            print(f"vecdb serves {chosen.directory} at {url}{mode}")
            more = "" if grpc is None else f"gRPC is at {grpc}. "
            print(f"{more}Ctrl-C or SIGTERM stops it.")
        sys.stdout.flush()

    if chosen.workers == 1:
        running.run(chosen, tell)
        return 0
    from vecdb.server.workers import parent

    return parent.run(chosen, tell)

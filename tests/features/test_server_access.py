"""``vecdb serve``: who may do what, from where, over which connection."""

from __future__ import annotations

import signal
import socket
import ssl
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from serving import Server, error, log_of, new_collection, put, result, serving, start

from vecdb import VecDB
from vecdb.server.routes import ROUTES, Route
from vecdb.server.table import Right

WRITE, OTHER, READ = "may-do-everything", "may-do-everything-too", "may-read"
KEYS = {
    "VECDB_API_KEY": WRITE,
    "VECDB_ALT_API_KEY": OTHER,
    "QDRANT__SERVICE__READ_ONLY_API_KEY": READ,
}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    directory = tmp_path_factory.mktemp("access") / "db"
    options = ("--cors-origin", "https://page.example", "--allowed-host", "vectors.example")
    with serving(directory, *options, environment=KEYS) as running:
        with running.http(WRITE) as http:
            put(http, new_collection(http, "c"), {"id": 1, "vector": [1, 2, 3, 4]})
        yield running


# -- keys ------------------------------------------------------------------------------------------


def request_for(route: Route) -> dict[str, Any]:
    """A request of a route of which only matters whether it is allowed: it names what the tests
    here do not use, and its body is empty."""
    segments = {"{collection_name}": "none", "{shard_id}": "7"}
    path = "/".join(
        segments.get(each, "none") if each.startswith("{") else each
        for each in route.path.split("/")
    )
    return {"method": route.method, "url": path, "json": {}}


@pytest.mark.parametrize("route", ROUTES, ids=lambda route: route.endpoint)
def test_every_route_with_every_key(server: Server, route: Route) -> None:
    right = route.operation.right
    given = request_for(route)
    with server.http() as nobody, server.http(READ) as reader, server.http("wrong") as stranger:
        for http, text in (
            (nobody, "Must provide an API key or an Authorization bearer token"),
            (stranger, "Invalid API key or JWT"),
        ):
            answer = http.request(**given)
            if right is Right.OPEN and http is nobody:
                assert answer.status_code == 200
            else:
                assert (answer.status_code, answer.text) == (401, text)
                assert answer.headers["content-type"].startswith("text/plain")
        answer = reader.request(**given)
        if right <= Right.READ:
            assert answer.status_code not in (401, 403, 500)
        else:
            text = error(answer, 403)
            assert text.startswith("Forbidden: ")
            assert text.endswith(" is required")
    with server.http(WRITE) as writer:
        assert writer.request(**given).status_code not in (401, 403, 500)


def test_what_a_reader_may_not_do_is_all_that_changes_something() -> None:
    """The table, looked at by somebody who does not trust it."""
    posts_that_read = (
        *("/points", "/points/scroll", "/points/count", "/facet"),
        *("/query", "/batch", "/groups", "/search", "/pairs", "/offsets"),
        *("/recommend", "/discover", "/explain", "/within"),
    )
    for route in ROUTES:
        reads_only = route.method == "GET" or (
            route.method == "POST"
            and route.path.endswith(posts_that_read)
            and not route.path.endswith("/points/batch")
        )
        assert (route.operation.right <= Right.READ) is reads_only, route.endpoint
    open_to_all = {r.path for r in ROUTES if r.operation.right is Right.OPEN}
    assert open_to_all == {"/", "/healthz", "/livez", "/readyz"}


@pytest.mark.parametrize("key", [WRITE, OTHER])
def test_forms_of_a_key(server: Server, key: str) -> None:
    with server.http() as http:
        for headers in (
            {"api-key": key},
            {"Authorization": f"Bearer {key}"},
            {"authorization": f"bearer  {key}"},
        ):
            assert result(http.put("/collections/c/points", json={"points": []}, headers=headers))
        for headers in ({"api-key": ""}, {"authorization": f"Basic {key}"}, {"api-key": key[:-1]}):
            assert http.get("/collections", headers=headers).status_code == 401


def test_an_unknown_path_tells_a_stranger_nothing(server: Server) -> None:
    with server.http() as http:
        assert http.get("/nothing").status_code == http.get("/collections").status_code == 401
    with server.http(READ) as http:
        assert http.get("/nothing").status_code == 404


def test_the_words_of_a_missing_right(server: Server) -> None:
    with server.http(READ) as http:
        text = error(http.put("/collections/c/points", json={"points": []}), 403)
        assert text == "Forbidden: Write access to collection c is required"
        text = error(http.delete("/collections/c"), 403)
        assert text == "Forbidden: Global manage access is required"


def test_empty_keys_are_none(tmp_path: Path) -> None:
    environment = {"VECDB_API_KEY": "", "VECDB_READ_ONLY_API_KEY": ""}
    with serving(tmp_path / "db", environment=environment) as running, running.http() as http:
        assert result(http.get("/collections")) == {"collections": []}


def test_keys_are_nowhere_to_be_read(server: Server) -> None:
    with server.http(WRITE) as http:
        for path in ("/telemetry?details_level=10", "/metrics", "/openapi.json", "/"):
            text = http.get(path).text
            assert not any(key in text for key in KEYS.values())
    text = log_of(Path(server.log.with_suffix(""))).read_text()
    assert not any(key in text for key in KEYS.values())


# -- hosts and origins -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("localhost", 200),
        ("localhost:{port}", 200),
        ("127.0.0.1:{port}", 200),
        ("LOCALHOST:1", 200),
        ("[::1]:{port}", 200),
        ("vectors.example", 200),
        ("page.example", 403),
        ("localhost.page.example:{port}", 403),
        ("10.0.0.1", 403),
        ("localhost@page.example", 403),
        ("", 403),
        ("[", 403),
    ],
)
def test_hosts(server: Server, host: str, status: int) -> None:
    """A page may give this machine's address to a name of its own; its requests have that name."""
    with server.http() as http:
        answer = http.get("/", headers={"host": host.format(port=server.port)})
        assert answer.status_code == status


def test_origins(server: Server) -> None:
    with server.http(WRITE) as http:
        for origin in ("https://other.example", "null", "http://localhost:1"):
            answer = http.get("/collections", headers={"origin": origin})
            assert error(answer, 403).startswith("Forbidden: this origin is not allowed")
            assert "access-control-allow-origin" not in answer.headers
        own = http.get("/collections", headers={"origin": server.url})
        assert own.status_code == 200
        assert "access-control-allow-origin" not in own.headers
        allowed = http.get("/collections", headers={"origin": "https://page.example"})
        assert allowed.headers["access-control-allow-origin"] == "https://page.example"
    with server.http() as http:  # a browser asks first, without a key
        asked = http.options("/collections", headers={"origin": "https://page.example"})
        assert asked.status_code == 200
        assert "api-key" in asked.headers["access-control-allow-headers"]
        refused = http.options("/collections", headers={"origin": "https://other.example"})
        assert refused.status_code == 403


def test_other_machines_need_a_key(tmp_path: Path) -> None:
    process = start(tmp_path / "db", "--host", "0.0.0.0")
    assert process.communicate(timeout=60)[0] == ""
    assert process.returncode == 2
    assert "--insecure" in log_of(tmp_path / "db").read_text()
    assert not (tmp_path / "db").exists()


def test_addresses_are_hosts_where_other_machines_may_call(tmp_path: Path) -> None:
    with serving(tmp_path / "db", "--host", "0.0.0.0", environment=KEYS) as running:
        assert "in the clear" in running.log.read_text()
        with httpx.Client(base_url=f"http://127.0.0.1:{running.port}", trust_env=False) as http:
            for host, status in (("10.1.2.3:6333", 200), ("[fe80::1]", 200), ("a.example", 403)):
                assert http.get("/", headers={"host": host}).status_code == status


def test_only_who_may_write_is_told_the_names_of_files(tmp_path: Path) -> None:
    with VecDB(tmp_path / "db") as db:
        db.create_collection("c", {"size": 4, "distance": "Dot"})
        db.create_collection("whole", {"size": 4, "distance": "Dot"})
    [catalog] = (tmp_path / "db" / "collections" / "c").rglob("data.mdb")
    catalog.write_bytes(b"damaged" * 2000)
    with serving(tmp_path / "db", environment=KEYS) as running:
        with running.http(WRITE) as http:
            assert str(tmp_path) in error(http.get("/collections/c"), 500)
            assert result(http.get("/collections/whole"))["points_count"] == 0
            ready = http.get("/readyz")
            assert (ready.status_code, ready.text) == (503, "some shards are not ready")
            assert "vecdb_damaged_collections 1" in http.get("/metrics").text
        with running.http(READ) as http:
            text = error(http.get("/collections/c"), 500)
            assert text == "Service internal error: see the log of the server"
        assert str(catalog.parent) in running.log.read_text()


# -- a web interface -------------------------------------------------------------------------------


def test_the_files_of_a_web_interface_and_no_others(tmp_path: Path) -> None:
    web = tmp_path / "web"
    (web / "deep").mkdir(parents=True)
    (web / "index.html").write_text("<html>first</html>")
    (web / "deep" / "a b.js").write_text("1")
    (tmp_path / "secret.txt").write_text("secret")
    (web / "link.txt").symlink_to(tmp_path / "secret.txt")
    with (
        serving(tmp_path / "db", "--static-dir", web, environment=KEYS) as running,
        running.http() as http,
    ):
        for path in ("/dashboard", "/dashboard/", "/dashboard/index.html"):
            found = http.get(path, follow_redirects=True)
            assert (found.status_code, found.text) == (200, "<html>first</html>")
            assert found.headers["content-type"].startswith("text/html")
            assert found.headers["x-frame-options"] == "DENY"
        assert http.get("/dashboard/deep/a%20b.js").text == "1"
        for path in (
            *("/dashboard/none", "/dashboard/deep", "/dashboard/link.txt", "/dashboard/%00"),
            *("/dashboard/%2E%2E/secret.txt", "/dashboard/..%2Fsecret.txt", "/dashboard/%FF"),
            f"/dashboard/{'x' * 300}",
            f"/dashboard/{str(tmp_path).replace('/', '%2F')}%2Fsecret.txt",
        ):
            assert (http.get(path).status_code, http.get(path).text) == (404, ""), path
        assert http.post("/dashboard").status_code == 401
        assert http.get("/collections").status_code == 401


# -- TLS -------------------------------------------------------------------------------------------

TLS = Path(__file__).parent / "tls"  # made by openssl, for a hundred years and this machine only


def trusting(name: str, client: str | None = None) -> ssl.SSLContext:
    """Trusts one certificate, and shows one."""
    context = ssl.create_default_context(cafile=str(TLS / f"{name}.pem"))
    if client is not None:
        context.load_cert_chain(TLS / f"{client}.pem", TLS / f"{client}.key")
    return context


def test_tls_and_its_certificate_anew(tmp_path: Path) -> None:
    cert, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    cert.write_bytes((TLS / "one.pem").read_bytes())
    key.write_bytes((TLS / "one.key").read_bytes())
    with serving(tmp_path / "db", "--tls-cert", cert, "--tls-key", key) as running:
        assert running.url.startswith("https://")
        with running.http(verify=trusting("one")) as http:
            assert result(http.get("/collections")) == {"collections": []}
        with running.http(verify=trusting("two")) as http, pytest.raises(httpx.ConnectError):
            http.get("/collections")
        with socket.create_connection(("127.0.0.1", running.port)) as plain:
            plain.sendall(b"GET / HTTP/1.1\r\nhost: localhost\r\n\r\n")
            assert b"200" not in plain.recv(100)
        cert.write_bytes((TLS / "two.pem").read_bytes())
        key.write_bytes((TLS / "two.key").read_bytes())
        running.process.send_signal(signal.SIGHUP)
        deadline = time.monotonic() + 30
        while True:
            try:
                with running.http(verify=trusting("two")) as http:
                    assert http.get("/healthz").status_code == 200
                break
            except httpx.ConnectError:
                assert time.monotonic() < deadline
                time.sleep(0.05)
        key.write_text("not a key")
        running.process.send_signal(signal.SIGHUP)
        wait_for_text(running.log, "the certificate stays as it was")
        with running.http(verify=trusting("two")) as http:
            assert http.get("/healthz").status_code == 200
        assert running.stop() == 0


def test_callers_with_certificates(tmp_path: Path) -> None:
    options = ("--tls-cert", TLS / "one.pem", "--tls-key", TLS / "one.key")
    with serving(tmp_path / "db", *options, "--tls-client-ca", TLS / "client.pem") as running:
        with running.http(verify=trusting("one", "client")) as http:
            assert result(http.get("/collections")) == {"collections": []}
        for stranger in (None, "two"):
            with (
                running.http(verify=trusting("one", stranger)) as http,
                pytest.raises((httpx.ReadError, httpx.ConnectError, httpx.RemoteProtocolError)),
            ):
                http.get("/collections")


@pytest.mark.parametrize("options", [["--tls-cert", "x"], ["--tls-client-ca", "x"]])
def test_half_of_tls_is_refused(tmp_path: Path, options: list[str]) -> None:
    process = start(tmp_path / "db", *options)
    assert process.communicate(timeout=60)[0] == ""
    assert process.returncode == 2
    assert "--tls-key" in log_of(tmp_path / "db").read_text()


def wait_for_text(path: Path, text: str) -> None:
    """Until a log has it."""
    deadline = time.monotonic() + 30
    while text not in path.read_text():
        assert time.monotonic() < deadline, path.read_text()
        time.sleep(0.05)

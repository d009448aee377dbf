"""``vecdb serve``: its own page at ``/ui``, and the routes that it reads; a browser has it in
``proofs.browser``."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urljoin

import httpx
import numpy as np
import pytest
from serving import Server, error, new_collection, put, result, serving

from vecdb import VecDB, __version__, models

PAGE = Path(__file__).parents[2] / "vecdb" / "server" / "ui"
FILES = sorted(PAGE.iterdir())
SCRIPTS = [path for path in FILES if path.suffix == ".js"]
KEYS = {"VECDB_API_KEY": "may-write", "VECDB_READ_ONLY_API_KEY": "may-read"}
KINDS = {
    ".html": "text/html",
    ".css": "text/css",
    ".js": "text/javascript",
    ".svg": "image/svg+xml",
}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    directory = tmp_path_factory.mktemp("ui") / "db"
    with VecDB(directory) as db:
        quantized = models.ScalarQuantization(scalar=models.ScalarQuantizationConfig(type="int8"))
        db.create_collection(
            "indexed",
            models.VectorParams(size=16, distance="Cosine"),
            quantization_config=quantized,
            optimizers_config={"indexing_threshold": 1},
        )
        vectors = np.random.default_rng(0).standard_normal((2000, 16)).astype(np.float32)
        payloads = [{"n": n % 7} for n in range(2000)]
        db.upsert("indexed", models.Batch(ids=range(2000), vectors=vectors, payloads=payloads))
        db.collection("indexed").wait_for_optimizer()
        db.update_collection_aliases(
            [{"create_alias": {"collection_name": "indexed", "alias_name": "other"}}]
        )
    with serving(directory, environment=KEYS) as running:
        with running.http("may-write") as http:
            put(http, new_collection(http, "a b"), {"id": 1, "vector": [1, 2, 3, 4]})
        yield running


@pytest.fixture
def http(server: Server) -> Iterator[httpx.Client]:
    """Of a caller that may only read: the page needs no more."""
    with server.http("may-read") as client:
        yield client


# -- its files -------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_its_files_are_shown_to_anybody_and_can_do_little(server: Server, path: Path) -> None:
    with server.http() as http:
        found = http.get(f"/ui/{path.name}")
    assert (found.status_code, found.content) == (200, path.read_bytes())
    assert found.headers["content-type"].startswith(KINDS[path.suffix])
    policy = dict(
        part.partition(" ")[::2] for part in found.headers["content-security-policy"].split("; ")
    )
    assert policy["default-src"] == "'self'"
    assert not policy.keys() & {"script-src", "style-src", "connect-src", "img-src"}
    assert policy["frame-ancestors"] == policy["form-action"] == policy["base-uri"] == "'none'"
    assert policy["require-trusted-types-for"] == "'script'"
    assert policy["trusted-types"] == "'none'"
    assert found.headers["x-frame-options"] == "DENY"
    assert found.headers["x-content-type-options"] == "nosniff"
    assert found.headers["referrer-policy"] == "no-referrer"
    assert found.headers["cache-control"] == "no-cache"


def test_its_address_ends_in_a_slash_and_browsers_are_sent_there(server: Server) -> None:
    visit = {"accept": "text/html,application/xhtml+xml,*/*;q=0.8", "sec-fetch-mode": "navigate"}
    with server.http() as http:
        for path, headers in (("/ui", {}), ("/", visit)):
            found = http.get(path, headers=headers)
            assert found.status_code == 303
            assert urljoin(f"{server.url}{path}", found.headers["location"]) == f"{server.url}/ui/"
        assert http.get("/ui/").content == (PAGE / "index.html").read_bytes()
        for headers in ({}, {"accept": "text/html"}, {**visit, "accept": "*/*"}):
            assert http.get("/", headers=headers).json()["title"] == "qdrant - vector search engine"


def test_nothing_beside_its_files_is_shown(server: Server) -> None:
    with server.http() as http:
        for path in ("none.js", "%2E%2E/app.py", "..%2Fapp.py", "%00", "../../etc/passwd"):
            assert http.get(f"/ui/{path}").status_code in (401, 404), path
        assert http.get("/uix").status_code == 401
        assert http.post("/ui/").status_code == 401


def test_it_is_guarded_as_all_else(server: Server) -> None:
    with server.http() as http:
        assert error(http.get("/ui/", headers={"host": "page.example"}), 403)
        assert error(http.get("/ui/", headers={"origin": "https://page.example"}), 403)


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.name)
def test_a_script_is_short_names_only_what_is_there_and_makes_no_html(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert re.match(r"// [A-Z].+[.:,]", text), "its first line says what it is"
    assert len(text.splitlines()) <= 450
    for name in re.findall(r'from "([^"]+)"', text):
        assert name.startswith("./")
        assert (PAGE / name).is_file(), name
    imported = {
        name for part in re.findall(r"import \{([^}]+)\}", text) for name in part.split(",")
    }
    for name in filter(None, map(str.strip, imported)):
        assert len(re.findall(rf"\b{name}\b", text)) > 1, f"{name} is imported for nothing"
    for word in ("innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval("):
        assert word not in text


def test_nothing_of_it_is_elsewhere_or_inline() -> None:
    for path in FILES:
        text = path.read_text(encoding="utf-8").replace("http://www.w3.org/2000/svg", "")
        assert not re.search(r"(https?:)?//[\w-]+\.\w", text), path.name
        assert "url(" not in text or path.suffix == ".js"
    page = (PAGE / "index.html").read_text(encoding="utf-8")
    assert not re.search(r"<style|\sstyle=|\son\w+=|<script(?![^>]* src=)", page)
    for name in re.findall(r'(?:href|src)="([^"#]+)"', page):
        assert (PAGE / name).is_file(), name
    assert sum(path.stat().st_size for path in FILES) < 80_000


# -- what it reads ---------------------------------------------------------------------------------


def test_all_collections(server: Server, http: httpx.Client) -> None:
    found = result(http.get("/vecdb/collections"))
    assert found.keys() == {"version", "read_only", "collections", "damaged"}
    assert (found["version"], found["read_only"], found["damaged"]) == (__version__, False, [])
    small, indexed = found["collections"]
    assert (small["name"], small["aliases"], small["points_count"]) == ("a b", [], 1)
    assert (indexed["name"], indexed["aliases"]) == ("indexed", ["other"])
    assert (indexed["status"], indexed["points_count"]) == ("green", 2000)
    assert (indexed["vectors"]["size"], indexed["vectors"]["distance"]) == (16, "Cosine")
    memory = result(http.get("/vecdb/collections/indexed/memory"))
    assert indexed["bytes"].keys() == memory["total"].keys()
    assert indexed["bytes"]["file"] == memory["total"]["file"]


def test_the_bytes_of_each_part_come_to_the_total(http: httpx.Client) -> None:
    report = result(http.get("/vecdb/collections/other/memory"))  # by its alias
    assert report["parts"]["originals"]["file"] >= 2000 * 16 * 4
    assert report["parts"]["codes"]["file"] > 2000 * 16
    for figure, total in report["total"].items():
        assert total == sum(part[figure] for part in report["parts"].values())


def test_the_inside_of_a_collection(http: httpx.Client) -> None:
    found = result(http.get("/vecdb/collections/indexed"))
    info = models.CollectionInfo(**found)  # every field of it, by its name
    assert info.optimizer_progress["running"] is None
    [segment] = found["segments"]
    assert (segment["kind"], segment["points"], segment["deleted"]) == ("file", 2000, 0)
    vector = segment["vectors"][""]
    assert (vector["bytes"], vector["quantization"]) == (2000 * 16 * 4, "scalar")
    efforts = vector["index"]["efforts"]
    assert [each["recall"] for each in efforts] == sorted({each["recall"] for each in efforts})
    assert efforts[-1]["recall"] == 1.0
    text = error(http.get("/vecdb/collections/none"), 404)
    assert text == "Not found: Collection `none` doesn't exist!"


QUERIES: list[dict[str, Any]] = [
    {"query": 3, "limit": 5},
    {"query": [0.5] * 16, "limit": 3, "params": {"exact": True}, "with_payload": True},
    {"query": [0.5] * 16, "filter": {"must": [{"key": "n", "match": {"value": 3}}]}},
    {"filter": {"must": [{"key": "n", "range": {"gte": 5}}]}, "offset": 2, "with_vector": True},
]


@pytest.mark.parametrize("query", QUERIES, ids=["point", "exact", "filter", "no query"])
def test_an_explained_search_finds_the_same(http: httpx.Client, query: dict[str, Any]) -> None:
    found = result(http.post("/vecdb/collections/indexed/explain", json=query))
    plain = result(http.post("/collections/indexed/points/query", json=query))
    assert found["points"] == plain["points"] != []
    [segment] = found["explanation"]
    assert (segment["kind"], segment["points"]) == ("file", 2000)
    stages = segment["stages"]
    assert all(stage["rows"] >= stage["kept"] for stage in stages)
    assert all(stage["reason"] for stage in stages)
    by = [stage["by"] for stage in stages]
    assert ("filter" in by) is ("filter" in query)
    if query.get("params"):
        assert by == ["originals"]
        assert stages[0]["rows"] == 2000


def test_an_explained_search_refuses_what_a_search_does(http: httpx.Client) -> None:
    for body in ({"query": [1]}, {"limit": 0}, {"nonsense": 1}, {"query": 99999}):
        answers = [
            http.post(path, json=body)
            for path in ("/vecdb/collections/indexed/explain", "/collections/indexed/points/query")
        ]
        assert answers[0].status_code == answers[1].status_code >= 400
        assert answers[0].json()["status"] == answers[1].json()["status"]


def test_a_follower_says_so_and_follows(tmp_path: Path) -> None:
    with VecDB(tmp_path / "db") as db:
        db.create_collection("c", {"size": 4, "distance": "Dot"})
        with serving(tmp_path / "db", "--read-only") as running, running.http() as http:
            assert result(http.get("/vecdb/collections"))["read_only"] is True
            db.upsert("c", [models.PointStruct(id=1, vector=[1, 2, 3, 4])])
            counts = set()
            for _ in range(200):
                [found] = result(http.get("/vecdb/collections"))["collections"]
                counts.add(found["points_count"])
                if found["points_count"]:
                    break
            assert 1 in counts
            assert result(http.get("/vecdb/collections/c"))["points_count"] == 1


def test_what_is_damaged_is_named_and_where_it_is_is_told_to_few(tmp_path: Path) -> None:
    with VecDB(tmp_path / "db") as db:
        vectors = np.eye(4, dtype=np.float32)
        for name in ("c", "partly"):
            quantized = {"scalar": {"type": "int8", "always_ram": True}}
            db.create_collection(
                name,
                {"size": 4, "distance": "Dot"},
                quantization_config=quantized,
                optimizers_config={"indexing_threshold": 1},
            )
            rows = np.repeat(vectors, 200, axis=0)
            db.upsert(name, models.Batch(ids=range(800), vectors=rows))
            db.collection(name).wait_for_optimizer()
    [catalog] = (tmp_path / "db" / "collections" / "c").rglob("data.mdb")
    catalog.write_bytes(b"damaged" * 2000)
    [codes, *_] = (tmp_path / "db" / "collections" / "partly").rglob("*codes*")
    codes.write_bytes(codes.read_bytes()[:-1] + b"?")
    # It follows another process, and so mends nothing.
    with (
        serving(tmp_path / "db", "--read-only", environment=KEYS) as running,
        running.http("may-read") as http,
    ):
        assert result(http.get("/vecdb/collections"))["damaged"] == ["c"]
        assert "log of the server" in error(http.get("/vecdb/collections/c"), 500)
        [damaged] = result(http.get("/vecdb/collections/partly"))["damaged_files"]
        assert damaged["path"] == f"{codes.parent.name}/{codes.name}"
        with running.http("may-write") as writer:
            assert str(tmp_path) in error(writer.get("/vecdb/collections/c"), 500)


# -- the parts of it that need no browser ----------------------------------------------------------

READ_AND_WRITTEN = """
globalThis.document = { baseURI: "http://localhost/ui/" };
const { readValue, writeValue } = await import("./filter.js");
const { parse } = await import("./json.js");
const values = parse(process.argv[2]);
const typed = values.map(writeValue).map((text) => text.replaceAll("\\n", ""));
const isSame = (value, at) => String(value) === String(values[at]);
const kinds = typed.map(readValue).map((value, at) => isSame(value, at) && typeof value);
console.log(JSON.stringify([typed, kinds]));
"""


@pytest.mark.skipif(shutil.which("node") is None, reason="needs node")
def test_a_string_is_offered_as_the_string_that_it_is(tmp_path: Path) -> None:
    """A string "5" was offered as 5, which a filter takes for the number."""
    for path in SCRIPTS:
        (tmp_path / path.name).write_bytes(path.read_bytes())
    (tmp_path / "package.json").write_text('{"type": "module"}')
    (tmp_path / "program.js").write_text(READ_AND_WRITTEN)
    plain = ["Berlin", "05", "5 m", "True", "[", "a b", "-", "ä", " x "]
    quoted = ["5", "-1.5e3", "true", "null", "[1]", "{}", '"x"', " 5 ", "", "a\nb"]
    others = "5, 1.0, 9007199254740993, true"
    text = f"{json.dumps([*plain, *quoted])[:-1]}, {others}]"
    words = ["node", str(tmp_path / "program.js"), text]
    typed, kinds = json.loads(subprocess.run(words, check=True, capture_output=True).stdout)
    expected = [*plain, *(json.dumps(each) for each in quoted), *others.split(", ")]
    assert typed == expected
    assert kinds == [*["string"] * len([*plain, *quoted]), "number", "object", "object", "boolean"]

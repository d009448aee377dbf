"""Checks: what the page at ``/ui`` shows, and what can be done with it."""

from __future__ import annotations

import json
import random
import re
import time
from collections.abc import Callable

from playwright.sync_api import BrowserContext

from proofs.browser.manners import (
    colours_can_be_chosen,
    it_is_used_by_keys_alone,
    json_is_read_as_others_read_it,
    keys_are_asked_for_and_kept_in_the_tab,
    narrow_screens_are_enough,
    numbers_are_exact,
    payloads_are_text,
    the_policy_holds,
)
from proofs.browser.reading import explained, found_ids, rows, search, size, until
from proofs.browser.views import ODD, complete
from proofs.browser.world import LARGEST, POINTS, SIZE, Server, Tab

READER = {"VECDB_API_KEY": "may-write", "VECDB_READ_ONLY_API_KEY": "may-read"}

Check = Callable[[BrowserContext, Server], None]

# -- what is shown ---------------------------------------------------------------------------------


def collections_are_listed(context: BrowserContext, server: Server) -> None:
    tab = Tab(context, server.url)
    page = tab.open()
    listed = rows(page, "Collections")
    expected = server.ask("GET", "/vecdb/collections")["collections"]
    assert [row[0] for row in listed] == [each["name"] for each in expected]
    for row, each in zip(listed, expected, strict=True):
        assert row[1] == "ready"
        assert row[2] == f"{each['points_count']:,}"
        assert row[4] == size(each["bytes"]["file"])
        assert row[5] == size(each["bytes"]["anonymous"])
    page.get_by_role("link", name="odd & named").click()
    tab.shown()
    page.get_by_role("heading", level=1, name="odd & named").wait_for()
    assert page.title() == "odd & named – vecdb"
    assert page.evaluate("document.activeElement.tagName") == "H1"
    tab.check_quiet()


def segments_are_shown(context: BrowserContext, server: Server) -> None:
    tab = Tab(context, server.url)
    page = tab.open("indexed")
    [segment] = server.ask("GET", "/vecdb/collections/indexed")["segments"]
    vector = segment["vectors"][""]
    [row] = rows(page, "Segments")
    assert row[0] == segment["id"].lstrip("0")
    assert row[1:5] == ["file", f"{POINTS:,}", "0", "unnamed"]
    assert row[5] == f"{size(vector['bytes'])}, {vector['placement']}"
    assert row[6] == f"binary, {vector['codes_placement']}"
    assert row[7].startswith(f"{vector['index']['partitions']} partitions")
    page = tab.open(ODD)
    assert [row[4] for row in rows(page, "Segments")] == ["text", "image"]
    page = tab.open("empty")
    page.get_by_text("There are no points yet.").wait_for()
    tab.check_quiet()


def every_byte_is_shown(context: BrowserContext, server: Server) -> None:
    tab = Tab(context, server.url)
    page = tab.open("indexed/memory")
    page.get_by_role("table", name="Bytes of each part").wait_for()
    report = server.ask("GET", "/vecdb/collections/indexed/memory")
    expected = {"total": report["total"], **report["parts"]}
    shown = {
        row[0].split("\n")[0].replace(" ", "_"): row for row in rows(page, "Bytes of each part")
    }
    assert shown.keys() == {name for name, part in expected.items() if any(part.values())}
    for name, row in shown.items():
        assert row[1] == size(expected[name]["file"])
        assert row[2] == size(expected[name]["anonymous"])
    widest = page.locator("tbody tr:nth-child(2) .bar.disk").evaluate(
        "bar => getComputedStyle(bar).getPropertyValue('--share')"
    )
    assert "100.00%" in widest, widest
    tab.check_quiet()


def recall_and_its_price_are_shown(context: BrowserContext, server: Server) -> None:
    tab = Tab(context, server.url)
    page = tab.open("indexed/recall")
    [segment] = server.ask("GET", "/vecdb/collections/indexed")["segments"]
    efforts = segment["vectors"][""]["index"]["efforts"]
    shown = rows(page, f"What each recall takes in segment {segment['id'].lstrip('0')}")
    highest = [float(re.findall(r"[\d.]+", row[0])[-1]) for row in shown]
    by_recall = {each["recall"]: each for each in efforts}
    assert highest[-1] == 1
    for row, recall in zip(shown[:-1], highest, strict=False):
        effort = by_recall[recall]
        assert row[1:3] == [f"{effort['rows']:,}", f"{effort['candidates']:,}"]
        assert row[3] == f"{effort['survivors'] or effort['candidates']:,}"
    usual = [row[0] for row in shown if "default" in row[0]]
    assert len(usual) == 1
    low, *_, high = (float(number) for number in re.findall(r"[\d.]+", f"{usual[0]} {usual[0]}"))
    assert min(low, high) <= 0.97 <= max(low, high)
    page.get_by_role("link", name=f"Search with recall {highest[0]:g}").click()
    page.get_by_label("Recall", exact=True).wait_for()
    assert float(page.get_by_label("Recall", exact=True).input_value()) == highest[0]
    page = tab.open("empty/recall")
    page.get_by_text("There is no index yet").wait_for()
    tab.check_quiet()


def the_optimizer_is_watched(context: BrowserContext, server: Server) -> None:
    """Points are written while the page is open: it shows them, and the optimizer at work."""
    server.ask(
        "PUT",
        "/collections/growing",
        {
            "vectors": {"size": 64, "distance": "Dot"},
            "optimizers_config": {"indexing_threshold": 1},
        },
    )
    tab = Tab(context, server.url)
    page = tab.open("growing")
    seen = page.evaluate_handle(
        """() => {
          const seen = [];
          const main = document.querySelector("main");
          const all = {subtree: true, childList: true, characterData: true};
          new MutationObserver(() => seen.push(main.innerText)).observe(main, all);
          return seen;
        }"""
    )
    rng = random.Random(3)
    for start in range(0, 24_000, 1000):
        points = [
            {"id": n, "vector": [round(rng.random(), 3) for _ in range(64)]}
            for n in range(start, start + 1000)
        ]
        server.ask("PUT", "/collections/growing/points?wait=true", {"points": points})
    page.get_by_text("24,000 points in").wait_for()
    deadline = time.monotonic() + 120
    while not re.search(r"[1-9]\d* steps? done", page.inner_text("main")):
        assert time.monotonic() < deadline, page.inner_text("main")
        page.wait_for_timeout(200)
    texts = seen.evaluate("seen => seen")
    assert any("At work: " in text or "Next: " in text for text in texts)
    tab.check_quiet()
    server.ask("DELETE", "/collections/growing")


def a_server_that_goes_and_comes_back_is_noticed(context: BrowserContext, server: Server) -> None:
    tab = Tab(context, server.url)
    page = tab.open("indexed")
    server.stop()
    page.get_by_text("The server does not answer.").wait_for()
    assert rows(page, "Segments")
    server.start()
    until(page, "document.getElementById('notice').textContent === ''")


# -- searches --------------------------------------------------------------------------------------


def searches_near_a_point(context: BrowserContext, server: Server) -> None:
    tab = Tab(context, server.url)
    page = tab.open("indexed/search")
    page.get_by_label("a point", exact=True).check()
    page.get_by_label("Id of the point").fill("7")
    search(page)
    page.wait_for_selector(".results li")
    expected = explained(server, {"query": 7})
    assert found_ids(page) == [str(point["id"]) for point in expected["points"]]
    [segment] = expected["explanation"]
    shown = rows(page, f"Stages in Segment {segment['id'].lstrip('0')}")
    assert [row[1:4] for row in shown] == [
        [f"{stage['rows']:,}", f"{stage['kept']:,}", stage["reason"]] for stage in segment["stages"]
    ]
    first = page.locator(".results li").first
    assert f"score {expected['points'][0]['score']}" in first.inner_text()
    page.get_by_role("button", name="More").click()
    until(page, "document.querySelectorAll('.results li').length === 20")
    expected = explained(server, {"query": 7, "limit": 10, "offset": 10})
    assert found_ids(page)[10:] == [str(point["id"]) for point in expected["points"]]
    first.get_by_text("Vectors").click()
    first.get_by_text(re.compile(r"^\[")).wait_for()
    vector = server.ask("GET", f"/collections/indexed/points/{found_ids(page)[0]}")["vector"]
    assert json.loads(first.locator("pre").inner_text()) == vector
    like = found_ids(page)[0]
    first.get_by_role("link", name=f"Similar to {like}").click()
    until(page, f"location.hash.endsWith('?id={like}')")
    until(page, "document.querySelectorAll('.results li').length === 10")
    expected = explained(server, {"query": int(like)})
    assert found_ids(page) == [str(point["id"]) for point in expected["points"]]
    tab.check_quiet()


def searches_near_a_vector(context: BrowserContext, server: Server) -> None:
    tab = Tab(context, server.url)
    page = tab.open("indexed/search")
    vector = [round(0.1 * n - 1, 3) for n in range(SIZE)]
    expected = [str(point["id"]) for point in explained(server, {"query": vector})["points"]]
    page.get_by_label("a vector", exact=True).check()
    field = page.get_by_label("Vector", exact=True)
    for text in (json.dumps(vector), " ".join(map(str, vector)), ",\n".join(map(str, vector))):
        field.fill(text)
        search(page)
        assert found_ids(page) == expected
    for text, problem in (
        ("1 2 3", f"Expected {SIZE} numbers, as unnamed vectors have; got 3."),
        ("1 2 x", "Number 3 is x, which is no number."),
        ("[1, 2", "Not a list of numbers: line 1, column 6"),
        ("[1, [2]]", "Number 2 is 2, which is no number."),
        ("", f"Expected {SIZE} numbers"),
    ):
        field.fill(text)
        search(page)
        assert problem in page.locator(".field:has(textarea) .problem").first.inner_text()
        assert field.get_attribute("aria-invalid") == "true"
        assert field.evaluate("field => field === document.activeElement")
    page = tab.open(f"{ODD}/search")
    page.get_by_label("a vector", exact=True).check()
    page.get_by_label("Vector name").select_option("image")
    page.get_by_label("Vector", exact=True).fill("1 2 3")
    search(page)
    assert found_ids(page) == [str(LARGEST)]
    tab.check_quiet()


def searches_by_payload(context: BrowserContext, server: Server) -> None:
    tab = Tab(context, server.url)
    page = tab.open("indexed/search")
    until(page, "document.querySelectorAll('datalist')[0].children.length >= 3")
    keys = page.evaluate("[...document.querySelectorAll('datalist')[0].children].map(o => o.value)")
    assert keys == ["group", "n", "part.even"]
    page.get_by_label("Field", exact=True).fill("group")
    page.get_by_label("Value", exact=True).focus()
    until(page, "document.querySelectorAll('datalist')[1].children.length === 5")
    page.get_by_label("Value", exact=True).fill("g3")
    page.get_by_role("button", name="Add condition").click()
    page.get_by_label("Field", exact=True).fill("n")
    page.get_by_label("Condition", exact=True).select_option("is at least")
    page.get_by_label("Value", exact=True).fill("3990")
    page.keyboard.press("Enter")
    filter = json.loads(page.get_by_label("Filter as JSON").input_value())
    assert filter == {
        "must": [
            {"key": "group", "match": {"value": "g3"}},
            {"key": "n", "range": {"gte": 3990}},
        ]
    }
    search(page)
    assert found_ids(page) == ["3993", "3998"]
    assert "Nothing was compared" in page.inner_text("main")
    page.get_by_label("a point", exact=True).check()
    page.get_by_label("Id of the point").fill("3993")
    search(page)
    assert found_ids(page) == ["3998"]
    assert "the filter, on payloads" in page.inner_text("main")
    tab.check_quiet()


def wrong_filters_are_said_where_they_are(context: BrowserContext, server: Server) -> None:
    tab = Tab(context, server.url)
    page = complete(tab, "indexed/search")
    sent = len(tab.requests)
    field = page.get_by_label("Filter as JSON")
    problem = page.locator(".field:has(textarea[rows='6']) .problem")
    for text, said in (
        ('{"must": [\n  {"key" "n"}]}', 'line 2, column 10: expected ":", found """'),
        ('{"must": [}', "line 1, column 11: expected a value"),
        ('{"must": [1,]}', 'line 1, column 12: expected another item after ","'),
        ("{'must': []}", "line 1, column 2: expected a key in double quotes"),
        ('{"must": "a\nb"}', "line 1, column 10: expected a string without line breaks"),
        ('{"must": []', 'line 1, column 12: expected "," or "}", found the end'),
        ("[]", "Expected an object such as"),
        ('{"most": []}', '"most" is no clause'),
    ):
        field.fill(text)
        assert said in problem.inner_text(), (text, problem.inner_text())
        search(page)
        assert field.evaluate("field => field === document.activeElement")
    asked = [each for each in tab.requests[sent:] if each.url.endswith("/explain")]
    assert not asked, "what is wrong is not sent"
    field.fill('{"must": [{"key": "n", "range": {"gte": "x"}}]}')
    search(page)
    assert "range" in problem.inner_text()
    assert page.get_by_role("alert").filter(has_text="range").first.is_visible()
    field.fill("")
    assert problem.inner_text() == ""
    search(page)
    assert len(found_ids(page)) == 10
    tab.check_quiet(but="400")  # which the browser notes


CHECKS: tuple[Check, ...] = (
    collections_are_listed,
    segments_are_shown,
    every_byte_is_shown,
    recall_and_its_price_are_shown,
    searches_near_a_point,
    searches_near_a_vector,
    searches_by_payload,
    wrong_filters_are_said_where_they_are,
    payloads_are_text,
    numbers_are_exact,
    the_policy_holds,
    keys_are_asked_for_and_kept_in_the_tab,
    it_is_used_by_keys_alone,
    narrow_screens_are_enough,
    colours_can_be_chosen,
    json_is_read_as_others_read_it,
    the_optimizer_is_watched,
    a_server_that_goes_and_comes_back_is_noticed,
)

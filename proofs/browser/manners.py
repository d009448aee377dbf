"""Manners: what must not happen on the page, and how it can be used."""

from __future__ import annotations

import json
import random
import re
import tempfile
from pathlib import Path
from typing import Any

from playwright.sync_api import BrowserContext, Page

from proofs.browser.reading import explained, found_ids, search, until
from proofs.browser.views import ODD, VIEWS, complete
from proofs.browser.world import LARGEST, MARKUP, Server, Tab, serving

READER = {"VECDB_API_KEY": "may-write", "VECDB_READ_ONLY_API_KEY": "may-read"}


# -- what must not happen --------------------------------------------------------------------------


def payloads_are_text(context: BrowserContext, server: Server) -> None:
    tab = Tab(context, server.url)
    page = tab.open(f"{ODD}/search")
    search(page)
    text = page.locator(".payload").inner_text()
    assert text.count(MARKUP.replace('"', '\\"')) >= 3  # values, as JSON writes them
    assert MARKUP in page.locator(".payload dt").all_inner_texts()  # a key
    assert page.locator("#bold, .results b, .results img").count() == 0
    assert page.title() == "odd & named – vecdb"
    assert not [each.url for each in tab.requests if "none.png" in each.url]
    assert "polluted" in text
    assert page.evaluate("({}).polluted") is None
    field = page.get_by_label("Field", exact=True)
    field.fill("html")
    page.get_by_label("Value", exact=True).focus()
    until(page, "document.querySelectorAll('datalist')[1].children.length === 1")
    assert page.title() == "odd & named – vecdb"
    tab.check_quiet()


def numbers_are_exact(context: BrowserContext, server: Server) -> None:
    tab = Tab(context, server.url)
    page = tab.open(f"{ODD}/search?id={LARGEST}")
    page.wait_for_selector(".results li")
    assert found_ids(page) == ["550e8400-e29b-41d4-a716-446655440000"]
    page.get_by_label("nothing: filter only").check()
    page.get_by_label("Filter as JSON").fill(f'{{"must": [{{"has_id": [{LARGEST}]}}]}}')
    search(page)
    assert found_ids(page) == [str(LARGEST)]
    shown = page.locator(".payload dd").all_inner_texts()
    assert str(LARGEST) in shown
    assert "1.0" in shown
    tab.check_quiet()


def the_policy_holds(context: BrowserContext, server: Server) -> None:
    """What the page does not do, nothing in it could."""
    tab = Tab(context, server.url)
    page = tab.open()
    refused = page.evaluate(
        """async () => {
          await new Promise((resolve) => setTimeout(resolve)); // what evaluates this may eval
          const refused = [];
          const attempt = async (name, work) => {
            try { await work(); } catch { refused.push(name); }
          };
          await attempt("html", () => { document.body.innerHTML += "<p>"; });
          await attempt("eval", () => window.eval("1"));
          await attempt("elsewhere", () => fetch("http://127.0.0.1:9/"));
          await attempt("script", () => new Promise((resolve, reject) => {
            const script = document.createElement("script");
            script.onload = resolve;
            script.onerror = reject;
            script.setAttribute("src", "data:text/javascript,1");
            document.body.append(script);
          }));
          return refused;
        }"""
    )
    assert refused == ["html", "eval", "elsewhere", "script"]


def keys_are_asked_for_and_kept_in_the_tab(context: BrowserContext, server: Server) -> None:
    with (
        tempfile.TemporaryDirectory() as directory,
        serving(Path(directory) / "db", keys=READER) as guarded,
    ):
        guarded.ask(
            "PUT", "/collections/c", {"vectors": {"size": 2, "distance": "Dot"}}, key="may-write"
        )
        tab = Tab(context, guarded.url)
        page = tab.page
        page.goto(f"{guarded.url}/ui/#/c/search")
        dialog = page.get_by_role("dialog", name="Key of the server")
        dialog.get_by_label("Key", exact=True).fill("wrong")
        page.keyboard.press("Enter")
        dialog.get_by_text("The server does not know this key.").wait_for()
        dialog.get_by_label("Key", exact=True).fill("may-read")
        dialog.get_by_role("button", name="Use it").click()
        tab.shown()
        search(page)
        page.get_by_text("Nothing was found").wait_for()
        for section in ("c", "c/memory", "c/recall", ""):
            tab.open(section)
            assert page.locator(".note.bad").count() == 0
        sent = [each for each in tab.requests if "/collections" in each.url]
        assert sent[-1].headers["api-key"] == "may-read"
        assert not any("may-read" in each.url for each in tab.requests)
        assert page.evaluate("Object.values(sessionStorage)") == ["may-read"]
        assert page.evaluate("Object.values(localStorage)") == []
        assert context.cookies() == []
        page.get_by_role("button", name="Key", exact=True).click()
        page.get_by_role("button", name="Forget it").click()
        page.get_by_role("dialog").wait_for()
        assert page.evaluate("Object.values(sessionStorage)") == []
        page.keyboard.press("Escape")
        page.get_by_text("Must provide an API key").wait_for()


# -- how it is used --------------------------------------------------------------------------------


def it_is_used_by_keys_alone(context: BrowserContext, server: Server) -> None:
    tab = Tab(context, server.url)
    page = tab.open()
    press = page.keyboard.press
    for expected in ("Skip to the content", "vecdb", "theme", "Key", "?", "empty", "indexed"):
        press("Tab")
        assert _focused(page) == expected
        outline = page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
        assert outline == "solid", f"the focus on {expected} is not seen"
    press("Enter")
    page.get_by_role("heading", level=1, name="indexed").wait_for()
    tab.shown()
    for expected in ("Overview", "Memory", "Recall", "Search"):
        press("Tab")
        assert _focused(page) == expected
    for key, title in (("2", "Memory"), ("3", "Recall"), ("1", "Overview"), ("4", "Search")):
        press(key)
        page.wait_for_selector(f"[aria-current]:text-is('{title}')")
        tab.shown()
    press("/")
    press("ArrowRight")  # from "filter only" on, so to the first choice
    page.wait_for_selector("input[value=point]:checked")
    press("Tab")
    page.keyboard.type("7")
    press("Control+Enter")
    nearest = [str(point["id"]) for point in explained(server, {"query": 7})["points"]]
    page.locator(".results .id", has_text=re.compile(f"^{nearest[0]}$")).wait_for()
    assert found_ids(page) == nearest
    page.get_by_role("heading", level=1).focus()
    for key, at in (("j", 0), ("j", 1), ("j", 2), ("k", 1)):
        press(key)
        ids = found_ids(page)
        assert ids[at] in page.evaluate("document.activeElement.innerText").split("\n")[0]
    press("?")
    page.get_by_role("dialog", name="Keyboard").wait_for()
    assert page.get_by_role("button", name="Close").evaluate("b => b === document.activeElement")
    press("Shift+Tab")
    press("Space")
    press("Escape")
    assert page.get_by_role("dialog").count() == 0
    assert ids[1] in page.evaluate("document.activeElement.innerText")
    press("c")
    page.wait_for_timeout(300)
    assert page.title() == "indexed – vecdb", "shortcuts are off"
    page.evaluate("localStorage.clear()")
    press("c")
    page.get_by_role("heading", level=1, name="Collections").wait_for()
    tab.check_quiet()


def _focused(page: Page) -> str:
    return str(
        page.evaluate("(e => e.tagName === 'SELECT' ? e.id : e.innerText)(document.activeElement)")
    )


def narrow_screens_are_enough(context: BrowserContext, server: Server) -> None:
    tab = Tab(context, server.url)
    tab.page.set_viewport_size({"width": 360, "height": 740})
    for view in VIEWS:
        page = complete(tab, view)
        wide = page.evaluate("document.documentElement.scrollWidth")
        assert wide <= 360, f"{view} is {wide} pixels wide"
        clipped = page.evaluate(
            "[...document.querySelectorAll('main *')].filter(e => e.getClientRects().length && "
            "!e.closest('.hidden, caption, thead, datalist') && "
            "e.getBoundingClientRect().right > 361).map(e => e.outerHTML.slice(0, 99))"
        )
        assert not clipped, (view, clipped)
    tab.check_quiet(but="404")  # of the collection that is not there


def colours_can_be_chosen(context: BrowserContext, server: Server) -> None:
    tab = Tab(context, server.url)
    page = tab.open()
    ground = "getComputedStyle(document.documentElement).backgroundColor"
    page.emulate_media(color_scheme="light")
    light = page.evaluate(ground)
    page.emulate_media(color_scheme="dark")
    dark = page.evaluate(ground)
    assert light != dark
    page.get_by_label("Colours").select_option("Light")
    assert page.evaluate(ground) == light
    page.reload()
    tab.shown()
    assert page.evaluate(ground) == light
    page.evaluate("localStorage.clear()")


def json_is_read_as_others_read_it(context: BrowserContext, server: Server) -> None:
    tab = Tab(context, server.url)
    page = tab.open()
    rng = random.Random(11)
    texts = [json.dumps(_any_value(rng, 4), ensure_ascii=rng.random() < 0.5) for _ in range(300)]
    broken = [_broken(text, rng) for text in texts for _ in range(5)]
    wrong = page.evaluate(
        """async (texts) => {
          const { parse, format, JsonError } = await import("./json.js");
          const plain = (value) => JSON.stringify(value, (key, each) =>
            each?.constructor?.name === "Numeral" ? Number(each.text) : each);
          return texts.filter((text) => {
            let expected, found;
            try { expected = JSON.stringify(JSON.parse(text)); } catch { expected = "refused"; }
            try {
              const value = parse(text);
              found = plain(value);
              if (plain(parse(format(value))) !== found) return true;
            } catch (error) {
              if (!(error instanceof JsonError)) throw error;
              found = "refused";
            }
            return found !== expected;
          });
        }""",
        texts + broken,
    )
    assert not wrong, wrong[:3]


def _any_value(rng: random.Random, depth: int) -> Any:
    kind = rng.randrange(8 if depth else 6)
    if kind == 0:
        return rng.choice([True, False, None])
    if kind in (1, 2):
        return rng.choice([0, -1, 0.1, -2.5e-7, 1e21, 7, 123456789, 1.5])
    if kind < 6:
        return "".join(
            rng.choice('ab"\\/\n\t\u0000\u2028é😀 {}[],:') for _ in range(rng.randrange(6))
        )
    if kind == 6:
        return [_any_value(rng, depth - 1) for _ in range(rng.randrange(4))]
    keys = [rng.choice("abcdef") + rng.choice(['"', "\\", "x"]) for _ in range(rng.randrange(4))]
    return {key: _any_value(rng, depth - 1) for key in keys}


def _broken(text: str, rng: random.Random) -> str:
    at = rng.randrange(len(text) + 1)
    return (
        text[:at]
        + rng.choice(["", "{", "}", "[", "]", ",", ":", '"', "\\", "1", "-", "tru"])
        + text[at + 1 :]
    )

"""Views: all there is to see, wide and narrow, light and dark, for the eye and for axe-core."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from playwright.sync_api import BrowserContext, Page

from proofs.browser.world import Server, Tab

ODD = "odd%20%26%20named"
VIEWS = (
    "",
    "indexed",
    "indexed/memory",
    "indexed/recall",
    "indexed/search?id=7",
    f"{ODD}/search",
    "empty/recall",
    "none",
)
_THEMES: tuple[Literal["light", "dark"], ...] = ("light", "dark")
_RULES = ("wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice")


def look(
    context: BrowserContext, server: Server, axe: Path | None, screenshots: Path | None
) -> None:
    """Keep a picture of every view, and let axe-core look at it. Raises AssertionError with what it
    found."""
    if screenshots is not None:
        screenshots.mkdir(parents=True, exist_ok=True)
    found = {}
    script = None if axe is None else axe / "node_modules" / "axe-core" / "axe.min.js"
    for name, page in _every_view(context, server):
        if screenshots is not None:
            page.screenshot(path=screenshots / f"{name}.png", full_page=True)
        if script is not None:
            page.evaluate(script.read_text(encoding="utf-8"))
            seen = page.evaluate("rules => axe.run({runOnly: rules})", list(_RULES))
            assert len(seen["passes"]) > 10, "it looked at nothing"
            if seen["violations"]:
                found[name] = [
                    (each["id"], each["help"], [node["html"][:150] for node in each["nodes"]])
                    for each in seen["violations"]
                ]
    assert not found, "\n".join(f"{name}: {each}" for name, each in found.items())


def complete(tab: Tab, view: str) -> Page:
    """A view with all that it loads."""
    page = tab.open(view)
    if "search" in view:
        page.wait_for_selector(".results li")
    if view.endswith("memory"):
        page.wait_for_selector(".bytes")
    return page


def _every_view(context: BrowserContext, server: Server) -> Iterator[tuple[str, Page]]:
    tab = Tab(context, server.url)
    page = tab.page
    for theme in _THEMES:
        page.emulate_media(color_scheme=theme)
        for width in (1280, 360):
            page.set_viewport_size({"width": width, "height": 860})
            for view in VIEWS:
                name = re.sub(r"\W+", "-", view) or "collections"
                yield f"{name}-{theme}-{width}", complete(tab, view)
            tab.open()
            for name, button in (("help", "Keyboard shortcuts"), ("key", "Key")):
                page.get_by_role("button", name=button, exact=True).click()
                yield f"{name}-{theme}-{width}", page
                page.keyboard.press("Escape")

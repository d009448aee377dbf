"""Reading: what is on the page, and waiting for it."""

from __future__ import annotations

import time
from typing import Any

from playwright.sync_api import Page

from proofs.browser.world import Server


def rows(page: Page, name: str) -> list[list[str]]:
    """The cells of a table, by its caption."""
    table = page.get_by_role("table", name=name, exact=True)
    return [
        [cell.inner_text().strip() for cell in row.locator("th, td").all()]
        for row in table.locator("tbody tr").all()
    ]


def size(number: int) -> str:
    """Bytes in the page's words."""
    units, figure = ["B", "KiB", "MiB"], float(number)
    while figure >= 1024 and len(units) > 1:
        figure /= 1024
        units.pop(0)
    digits = 0 if units[0] == "B" or figure >= 100 else 1
    return f"{figure:.{digits}f} {units[0]}"


def found_ids(page: Page) -> list[str]:
    """The ids of the points that are listed."""
    ids: list[str] = page.locator(".results .id").all_inner_texts()
    return ids


def until(page: Page, expression: str) -> None:
    """Wait for something to be so. (``wait_for_function`` needs what the page's policy forbids.)"""
    deadline = time.monotonic() + 120
    while not page.evaluate(expression):
        assert time.monotonic() < deadline, expression
        page.wait_for_timeout(100)


def search(page: Page) -> None:
    """Press the button, and wait for an answer."""
    page.get_by_role("button", name="Search", exact=True).click()
    page.wait_for_selector(".search .stack:not([aria-busy])")


def explained(server: Server, body: dict[str, Any], name: str = "indexed") -> Any:
    """What the server says to a search."""
    return server.ask("POST", f"/vecdb/collections/{name}/explain", {"with_payload": True, **body})

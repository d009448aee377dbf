"""Browser: the page of ``vecdb serve`` in a real browser, without a window.

    python -m proofs.browser                            pip install playwright; a chromium
    python -m proofs.browser --only payloads_are_text
    python -m proofs.browser --axe DIR                  DIR has axe-core: npm install axe-core
    python -m proofs.browser --screenshots DIR          a picture of every view

Each check drives the page as a user does, by names and roles of what is on it, and compares what it
shows with what the server says. In all of them nothing may be logged as an error, and nobody else
be asked for anything. axe-core looks at every view for what users of assistive technology would
miss.

Exit code 0: everything was as it should be.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import traceback
from collections.abc import Callable
from pathlib import Path

from playwright.sync_api import BrowserContext

from proofs.browser.checks import CHECKS
from proofs.browser.views import look
from proofs.browser.world import BROWSERS, Server, browser_on, browsing, make_database, serving


def main() -> int:
    """Parse the command line, make the checks, say what they found."""
    names = [check.__name__ for check in CHECKS]
    parser = argparse.ArgumentParser(prog="python -m proofs.browser")
    add = parser.add_argument
    add("--browser", metavar="FILE", help=f"if not given: one of {', '.join(BROWSERS)}")
    add("--only", nargs="+", choices=names, default=names, metavar="CHECK")
    add("--axe", type=Path, metavar="DIR", help="where axe-core is installed")
    add("--screenshots", type=Path, metavar="DIR", help="keep a picture of every view here")
    arguments = parser.parse_args()
    browser = browser_on(arguments.browser)
    if browser is None:
        print(f"there is no browser: expected one of {', '.join(BROWSERS)}", file=sys.stderr)
        return 2
    with tempfile.TemporaryDirectory() as directory:
        make_database(Path(directory) / "db")
        with serving(Path(directory) / "db") as server:
            failed = sum(
                not _passes(check.__name__, check, browser, server)
                for check in CHECKS
                if check.__name__ in arguments.only
            )
            if arguments.axe or arguments.screenshots:

                def views(context: BrowserContext, server: Server) -> None:
                    look(context, server, arguments.axe, arguments.screenshots)

                failed += not _passes("every view", views, browser, server)
    print("all passed" if not failed else f"{failed} failed")
    return 1 if failed else 0


def _passes(
    name: str, check: Callable[[BrowserContext, Server], None], browser: str, server: Server
) -> bool:
    try:
        with browsing(browser) as context:
            check(context, server)
    except Exception:
        print(f"FAILED  {name}\n{traceback.format_exc()}", flush=True)
        return False
    print(f"passed  {name.replace('_', ' ')}", flush=True)
    return True


if __name__ == "__main__":
    sys.exit(main())

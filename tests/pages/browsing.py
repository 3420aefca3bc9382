"""A real browser on a real server: every page of it is watched for faults."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from playwright.sync_api import Browser, ConsoleMessage, Page, Request, Response

AXE = (Path(__file__).parent / "axe" / "axe.min.js").read_text(encoding="utf-8")
NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
# What Chromium and htmx say of every refusal, and of a request that a later one replaces; the response itself is looked at.
TOLD = ("Failed to load resource", "Response Status Error Code", "htmx:sendAbort", "htmx:afterRequest")
PHONE, DESK = {"width": 360, "height": 740}, {"width": 1280, "height": 900}
SERIOUS = ("serious", "critical")
# Evaluated before the first script of each page.
COUNT_VIOLATIONS = """
window.violations = [];
document.addEventListener("securitypolicyviolation", (event) => violations.push(`${event.violatedDirective} ${event.blockedURI}`));
"""
RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]


def chromium() -> str | None:
    """Return the path of this machine's Chromium, or None."""
    return next((path for name in NAMES if (path := shutil.which(name))), None)


@dataclass
class Watched:
    """A page of a browser, the server it looks at, and what went wrong so far."""

    page: Page
    url: str
    faults: list[str] = field(default_factory=list)
    # Statuses of refusals that a test asks for.
    expected: set[int] = field(default_factory=set)

    def open(self, path: str) -> Page:
        """Open a path of the server, and wait for its scripts."""
        self.page.goto(f"{self.url}{path}", wait_until="load")
        return self.page

    def check(self) -> None:
        """Fail for any fault so far."""
        assert not self.faults, self.faults

    def check_accessibility(self) -> None:
        """Fail for findings of axe-core that are serious or critical."""
        # Evaluated by the debugger, which the page's policy does not bind.
        self.page.evaluate(AXE)
        found = self.page.evaluate("rules => axe.run(document, {runOnly: {type: 'tag', values: rules}})", RULES)
        wrong = [
            (one["id"], one["help"], [node["html"][:200] for node in one["nodes"][:3]]) for one in found["violations"] if one["impact"] in SERIOUS
        ]
        assert not wrong, wrong

    def check_width(self) -> None:
        """Fail for a page that is wider than its window."""
        wide = self.page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
        assert wide <= 0, f"{wide} pixels beyond the window"

    def _console(self, message: ConsoleMessage) -> None:
        told = any(text in message.text for text in TOLD)
        if message.type in ("error", "warning") and not told:
            self.faults.append(f"console {message.type}: {message.text}")

    def _request(self, request: Request) -> None:
        parts = urlsplit(request.url)
        if parts.scheme not in ("data", "blob") and f"{parts.scheme}://{parts.netloc}" != self.url:
            self.faults.append(f"a request off the host: {request.url}")

    def _response(self, response: Response) -> None:
        if response.status >= 400 and response.status not in self.expected:
            self.faults.append(f"{response.status} for {response.url}")

    def _failed(self, request: Request) -> None:
        # A page that is left, or a search that is typed on, ends its requests.
        if request.failure != "net::ERR_ABORTED":
            self.faults.append(f"{request.failure} for {request.url}")

    def _watch(self) -> None:
        self.page.on("console", self._console)
        self.page.on("pageerror", lambda error: self.faults.append(f"an error of a script: {error}"))
        self.page.on("request", self._request)
        self.page.on("response", self._response)
        self.page.on("requestfailed", self._failed)


@contextmanager
def watching(browser: Browser, url: str, **options: Any) -> Iterator[Watched]:
    """Yield a new page in a context of its own; fails at the end for any fault."""
    context = browser.new_context(**{"viewport": DESK, **options})
    context.add_init_script(COUNT_VIOLATIONS)
    context.set_default_timeout(15_000)
    watched = Watched(context.new_page(), url)
    watched._watch()
    try:
        yield watched
        watched.faults += [f"violates the policy: {one}" for one in watched.page.evaluate("window.violations || []")]
        watched.check()
    finally:
        context.close()

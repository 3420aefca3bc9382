"""Measure the pages in Chromium, on a PostgreSQL database of a million features.

    python -m benches.pages --database postgresql://user@host/some_database --json

The database is the one of `benches.service`, kept between runs. Each page is opened `--repeats` times in a fresh context without a cache:

- `paint`      milliseconds from the navigation to the first contentful paint, as Chromium reports it, and to the page's load;
- `next`       milliseconds from a click on the table's next page to the frame in which its rows stand;
- `pair`       milliseconds from the navigation until two explainers of `/compare` are drawn, with their largest differences;
- `crowd`      the home page's paint beside `--viewers` streams of one job's events and `--pollers` in another process, with their errors.
"""

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser, Page, expect, sync_playwright

from benches import bigbook, bigjobs
from benches.bigbook import NAME, Sizes
from benches.service import serving
from interp.config.settings import Settings
from interp.store import migrate
from interp.store.db.engine import make_engine

Line = dict[str, Any]
CHROMIUM = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
TABLE = f"/dictionaries/{NAME}/features"
PAGES = {
    "home": "/",
    "explain": "/explain",
    "dictionary": f"/dictionaries/{NAME}",
    "features": TABLE,
    "features by score": f"{TABLE}?sort=score&order=desc",
    "features by words": f"{TABLE}?q={bigbook.word(40)}&by=words",
    "feature": f"{TABLE}/4321",
    "search": f"/search?q={bigbook.word(40)}",
    "review": "/review",
    "compare": "/compare",
}
PAIR = f"/compare?dictionary={NAME}&division=0&pair=0"
KINDS = ("paint", "next", "pair", "crowd")
PATIENCE_MS = 120_000
# Resolves once the first contentful paint is known, with it and the load's end.
PAINT = """() => new Promise((resolve) => {
  const done = (paint) => resolve([paint.startTime, performance.getEntriesByType("navigation")[0].loadEventEnd]);
  const known = performance.getEntriesByName("first-contentful-paint")[0];
  if (known) return done(known);
  new PerformanceObserver((list, self) => {
    const paint = list.getEntriesByName("first-contentful-paint")[0];
    if (paint) { self.disconnect(); done(paint); }
  }).observe({ type: "paint", buffered: true });
})"""
# Clicks on the next page: milliseconds to the frame after its rows were inserted. Resolves once htmx knows the new link.
NEXT = """() => new Promise((resolve) => {
  const rows = () => document.querySelectorAll("[data-row]").length;
  const before = rows(), begun = performance.now();
  const shown = new Promise((seen) => new MutationObserver((_, self) => {
    if (rows() <= before) return;
    self.disconnect();
    requestAnimationFrame(() => seen(performance.now() - begun));
  }).observe(document.querySelector("[data-rows]"), { childList: true, subtree: true }));
  document.addEventListener("htmx:afterSettle", function settled(event) {
    if (rows() <= before || event.target.closest("#preview")) return;
    document.removeEventListener("htmx:afterSettle", settled);
    shown.then(resolve);
  });
  document.querySelector("[data-more]").click();
})"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--database", default=os.environ.get("GLOSSATOR_BENCH_DATABASE_URL"), help="PostgreSQL database to fill")
    parser.add_argument("--features", type=int, default=1_000_000)
    parser.add_argument("--repeats", type=int, default=20)
    parser.add_argument("--viewers", type=int, default=1_000, help="streams of a job's events")
    parser.add_argument("--pollers", type=int, default=0, help="clients beside them that poll the job every 5 seconds")
    parser.add_argument("--seconds", type=float, default=60.0, help="duration of the crowd in seconds")
    parser.add_argument("--pages", choices=PAGES, nargs="+", default=list(PAGES), help="pages to paint")
    parser.add_argument("--only", choices=KINDS, nargs="+", default=list(KINDS))
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    if not options.database:
        parser.error("give --database, or GLOSSATOR_BENCH_DATABASE_URL")
    path = next((found for name in CHROMIUM if (found := shutil.which(name))), None)
    if path is None:
        parser.error("this machine has no Chromium (Debian: apt-get install chromium)")
    for line in lines(options, path):
        print(json.dumps(line) if options.json else "  ".join(f"{name} {value}" for name, value in line.items()), flush=True)


def lines(options: argparse.Namespace, chromium: str) -> Iterator[Line]:
    """Yield a line for each page, the table's next page, and the crowd."""
    settings = Settings(home=Path(".glossator/bench"), database_url=options.database)
    migrate.upgrade(settings.database_url)
    engine = make_engine(settings.database_url)
    dictionary_id, run_id = bigbook.prepare(engine, options.features)
    bigbook.fill(engine, run_id, options.features, Sizes())
    job_id = bigjobs.fill(engine, dictionary_id, options.features)
    with serving(settings) as (url, _pid), browser_of(chromium) as browser:
        for name in options.pages if "paint" in options.only else ():
            yield {"bench": "pages", "case": f"paint: {name}"} | paints(browser, url + PAGES[name], options.repeats)
        if "next" in options.only:
            yield {"bench": "pages", "case": "next page of the table"} | next_pages(browser, url + TABLE, options.repeats)
        if "pair" in options.only:
            yield {"bench": "pages", "case": "two explainers compared"} | pairs(browser, url + PAIR, options.repeats)
        if "crowd" in options.only:
            beside = {"bench": "pages", "case": f"home beside {options.viewers} viewers, {options.pollers} pollers"}
            yield beside | crowd(browser, url, job_id, options)
    engine.dispose()


@contextmanager
def browser_of(path: str) -> Iterator[Browser]:
    """A Chromium; containers run as root, where it has no sandbox."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox", "--disable-gpu"])
        yield browser
        browser.close()


@contextmanager
def opened(browser: Browser, address: str) -> Iterator[Page]:
    """A page in a context of its own, and so without a cache."""
    context = browser.new_context()
    context.set_default_timeout(PATIENCE_MS)
    page = context.new_page()
    page.goto(address, wait_until="load")
    yield page
    # What the page still asks for would slow the next one.
    expect(page.locator(".htmx-request")).to_have_count(0, timeout=PATIENCE_MS)
    context.close()


def paints(browser: Browser, address: str, repeats: int) -> Line:
    """Return milliseconds to the first contentful paint and to the load's end."""
    found = []
    for _ in range(repeats):
        with opened(browser, address) as page:
            found.append(page.evaluate(PAINT))
    painted, loaded = zip(*found, strict=True)
    return summary(painted) | {"load_p50_ms": round(statistics.median(loaded), 1)}


def next_pages(browser: Browser, address: str, repeats: int) -> Line:
    """Return milliseconds from a click to the rows of the table's next page."""
    with opened(browser, address) as page:
        return summary([page.evaluate(NEXT) for _ in range(repeats)])


def pairs(browser: Browser, address: str, repeats: int) -> Line:
    """Return milliseconds from the navigation to the drawing of two explainers."""
    found = []
    for _ in range(repeats):
        with opened(browser, address) as page:
            page.wait_for_selector("svg circle")
            found.append(page.evaluate("performance.now()"))
    return summary(found)


def crowd(browser: Browser, url: str, job_id: str, options: argparse.Namespace) -> Line:
    """Return the home page's paint beside many clients of a job, and their errors."""
    command = [sys.executable, "-m", "benches.crowd", url, job_id, str(options.viewers), str(options.pollers), str(options.seconds)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        found = []
        while process.poll() is None:
            with opened(browser, url) as page:
                found.append(page.evaluate(PAINT)[0])
        assert process.stdout is not None
        said: Line = json.loads(process.stdout.read())
    return {f"paint_{name}": value for name, value in summary(found).items()} | {f"api_{name}": value for name, value in said.items()}


def summary(times: Sequence[float]) -> Line:
    """Return the median, the 95th percentile and the extremes of milliseconds."""
    cuts = statistics.quantiles(times, n=20, method="inclusive") if len(times) > 1 else times
    return {
        "p50_ms": round(statistics.median(times), 1),
        "p95_ms": round(cuts[-1], 1),
        "least_ms": round(min(times), 1),
        "most_ms": round(max(times), 1),
        "runs": len(times),
    }


if __name__ == "__main__":
    main()

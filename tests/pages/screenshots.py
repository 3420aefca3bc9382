"""Take the pictures of docs/pages.md: `python -m tests.pages.screenshots URL`, of a running service with the example's book."""

import io
import sys
from pathlib import Path

from PIL import Image
from playwright.sync_api import Page, sync_playwright

from tests.pages.browsing import PHONE, chromium

FOLDER = Path(__file__).parents[2] / "docs" / "pages"
DESK = {"width": 1200, "height": 800}
COLOURS = 128
MOST_BYTES = 150_000
DICTIONARY = "pystdlib@1-res"
# Lit on the map.
SEARCHED = "self"


def main(url: str, dictionary: str = DICTIONARY, index: str = "27") -> None:
    """Write one picture of each page, and of the feature on a phone in the dark."""
    FOLDER.mkdir(exist_ok=True)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium(), args=["--no-sandbox"])
        desk = browser.new_page(viewport=DESK)
        at = f"{url}/dictionaries/{dictionary}/features"
        desk.goto(f"{at}?sort=lift&order=desc")
        desk.keyboard.press("j")
        desk.locator("#preview h2").wait_for()
        save(desk, "features")
        desk.goto(f"{at}/{index}")
        save(desk, "feature")
        desk.locator(".explanation details").first.locator("summary").first.click()
        desk.locator("[data-items]").first.wait_for()
        desk.locator("[data-items]").first.scroll_into_view_if_needed()
        save(desk, "items")
        desk.goto(f"{url}/dictionaries/{dictionary}?q={SEARCHED}&mode=text#map")
        desk.locator("[data-map-hits] li").first.wait_for()
        desk.locator("#map").scroll_into_view_if_needed()
        save(desk, "map")
        phone = browser.new_page(viewport=PHONE, color_scheme="dark")
        phone.goto(f"{at}/{index}")
        phone.locator("#contexts").scroll_into_view_if_needed()
        save(phone, "phone")
        browser.close()


def save(page: Page, name: str) -> None:
    """Write the window as a PNG of few colours."""
    picture = Image.open(io.BytesIO(page.screenshot())).convert("RGB").quantize(COLOURS)
    path = FOLDER / f"{name}.png"
    picture.save(path, optimize=True)
    assert path.stat().st_size < MOST_BYTES, f"{path} is too large for the repository"


if __name__ == "__main__":
    main(*sys.argv[1:])

"""The map of a dictionary: it is coloured, moved, read and searched, by mouse, touch and keyboard."""

import base64
import re
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import pytest
from playwright.sync_api import Page, Route, expect
from sqlalchemy import Engine, delete, select

from interp.store.db.engine import transaction
from interp.store.db.tables import DictionaryRow, FeatureMapRow
from interp.store.results import feature_maps
from tests.api.synthetic import FEATURES, NAME
from tests.pages.browsing import Watched

PATH = f"/dictionaries/{NAME}"
# Feature 5 is alone in the middle; the others are on a circle around it.
MIDDLE = 5
MANY = 100_000


@pytest.fixture(scope="module")
def places(store: Engine) -> Iterator[np.ndarray]:
    """A map of the book's dictionary, while these tests run."""
    angles = np.linspace(0, 2 * np.pi, FEATURES + 4, endpoint=False)
    found = (0.5 + 0.45 * np.stack([np.cos(angles), np.sin(angles)], axis=1)).astype(np.float32)
    found[MIDDLE] = 0.5
    quality = {"layout": 0.4, "components": 0.1, "random": 0.05, "sampled": 16}
    with transaction(store) as session:
        dictionary_id = session.scalars(select(DictionaryRow.id).where(DictionaryRow.name == NAME)).one()
        feature_maps.save(session, dictionary_id, "j", 0, found, quality)
    yield found
    with transaction(store) as session:
        session.execute(delete(FeatureMapRow))


def opened(watched: Watched, query: str = "") -> Page:
    page = watched.open(f"{PATH}{query}")
    expect(page.locator("[data-map]:not([aria-busy])")).to_be_visible()
    page.wait_for_function("performance.getEntriesByName('glossator-map').length > 0")
    # Parts above and below that come later move the map from under the mouse.
    for waits in ("Counting…", "Reading the report…"):
        expect(page.get_by_text(waits)).to_have_count(0)
    page.locator("[data-map]").scroll_into_view_if_needed()
    return page


def middle_of(page: Page) -> tuple[float, float]:
    box = page.locator("[data-map] canvas").bounding_box()
    assert box is not None
    return box["x"] + box["width"] / 2, box["y"] + box["height"] / 2


def drawn(page: Page) -> str:
    """The picture, after what is asked for is drawn."""
    frame = "(canvas) => new Promise((done) => requestAnimationFrame(() => setTimeout(() => done(canvas.toDataURL()))))"
    return str(page.locator("[data-map] canvas").evaluate(frame))


def test_points_are_told_and_open_their_features(desk: Watched, places: np.ndarray) -> None:
    page = opened(desk)
    expect(page.get_by_text("40% are among its 50 nearest here")).to_be_visible()
    expect(page.locator("[data-map-low]")).to_have_text("0.1")
    expect(page.locator("[data-map-high]")).to_have_text("0.9")
    page.locator("[data-map] canvas").hover()
    tip = page.locator(".map-tip")
    expect(tip).to_contain_text(f"{NAME}:{MIDDLE}")
    expect(tip).to_contain_text(f"100%_self [{MIDDLE}]")
    expect(tip).to_contain_text("score 0.50")
    desk.check_accessibility()
    before = drawn(page)
    page.get_by_label("Colour").select_option("max_activation")
    expect(page.locator("[data-map-scale]")).to_have_text("(logarithmic)")
    assert drawn(page) != before
    page.mouse.click(*middle_of(page))
    page.wait_for_url(re.compile(rf"/features/{MIDDLE}$"))


def test_it_is_moved_by_mouse_wheel_and_keys(desk: Watched, places: np.ndarray) -> None:
    page = opened(desk)
    whole = drawn(page)
    across, down = middle_of(page)
    page.mouse.move(across + 60, down + 40)
    page.mouse.wheel(0, -240)
    closer = drawn(page)
    assert closer != whole
    page.mouse.down()
    page.mouse.move(across - 40, down, steps=4)
    page.mouse.up()
    assert urlsplit(page.url).path == PATH, "dragging opens nothing"
    assert drawn(page) not in (whole, closer)
    page.get_by_role("button", name="Whole map").click()
    page.mouse.move(1, 1)
    assert drawn(page) == whole
    canvas = page.get_by_role("application", name=re.compile("^Map of 16 features"))
    canvas.focus()
    seen = {whole}
    for key in ("+", "ArrowLeft", "ArrowUp", "-"):
        page.keyboard.press(key)
        assert drawn(page) not in seen, key
        seen.add(drawn(page))
    page.keyboard.press("0")
    assert drawn(page) == whole


def test_hits_are_lit_and_walked_by_keyboard(desk: Watched, places: np.ndarray) -> None:
    page = opened(desk)
    plain = drawn(page)
    page.get_by_label("Light up").fill("self")
    page.get_by_role("search", name="Map").get_by_label("by").select_option("text")
    page.get_by_label("Light up").press("Enter")
    expect(page.locator("[data-map-said]")).to_have_text(re.compile(r"^\d+ hits are lit\."))
    hits = page.locator("[data-map-hits] a")
    assert hits.count() > 2
    lit = drawn(page)
    assert lit != plain
    page.wait_for_url(re.compile(r"q=self&mode=text"))
    hits.first.focus()
    name = hits.first.inner_text()
    expect(page.locator(".map-tip")).to_contain_text(name)
    assert drawn(page) != lit, "the hit in focus has a ring"
    desk.check_accessibility()
    page.keyboard.press("Tab")
    expect(page.locator(".map-tip")).to_contain_text(hits.nth(1).inner_text())
    page.keyboard.press("Enter")
    page.wait_for_url(re.compile(r"/features/\d+$"))


def test_the_address_lights_hits_and_they_may_be_none(desk: Watched, places: np.ndarray) -> None:
    page = opened(desk, "?q=self&mode=text")
    expect(page.locator("[data-map-hits] li").first).to_be_visible()
    page.get_by_label("Light up").fill("zzzz")
    page.get_by_label("Light up").press("Enter")
    expect(page.locator("[data-map-said]")).to_have_text(re.compile("^0 hits are lit"))
    expect(page.locator("[data-map-hits] li")).to_have_count(0)
    page = desk.open(f"{PATH}?q=%22%3E%3Cscript%3E&mode=text")
    expect(page.get_by_label("Light up")).to_have_value('"><script>')
    expect(page.locator("[data-map-said]")).to_have_text(re.compile("^0 hits are lit"))


def test_a_text_of_the_table_is_lit_on_the_map(desk: Watched, places: np.ndarray) -> None:
    page = desk.open(f"{PATH}/features?q=self&by=words&run=1")
    page.get_by_role("link", name="Light these words on the map").click()
    page.wait_for_url(re.compile(r"\?q=self&mode=text&run=1#map$"))
    expect(page.locator("[data-map-said]")).to_have_text(re.compile(r"^\d+ hits are lit\."))
    expect(page.locator("[data-map-hits] a").first).to_have_attribute("href", re.compile(r"/features/\d+\?run="))


def test_on_a_phone_in_the_dark_two_fingers_zoom(phone: Watched, places: np.ndarray) -> None:
    page = opened(phone)
    phone.check_accessibility()
    phone.check_width()
    whole = drawn(page)
    across, down = middle_of(page)
    devices = page.context.new_cdp_session(page)

    def touch(kind: str, *far: float) -> None:
        points = [{"x": across + side, "y": down, "id": number} for number, side in enumerate(far)]
        devices.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})

    touch("touchStart", -20, 20)
    touch("touchMove", -60, 60)
    touch("touchEnd")
    closer = drawn(page)
    assert closer != whole
    assert urlsplit(page.url).path == PATH, "two fingers open nothing"
    page.get_by_role("button", name=re.compile("^Theme")).click()
    assert drawn(page) != closer, "the light theme has other colours"


def test_a_dictionary_without_a_map_says_how_to_get_one(desk: Watched, store: Engine, places: np.ndarray) -> None:
    with transaction(store) as session:
        row = session.execute(select(FeatureMapRow.dictionary_id, FeatureMapRow.quality)).one()
        session.execute(delete(FeatureMapRow))
    page = desk.open(PATH)
    expect(page.get_by_text("map: true")).to_be_visible()
    with transaction(store) as session:
        feature_maps.save(session, row.dictionary_id, "j", 0, places, row.quality)


def many(found: dict[str, Any]) -> dict[str, Any]:
    """The answer with 100,000 points in its place."""
    draw = np.random.default_rng(0)
    columns = {"feature": np.arange(MANY, dtype="<i4"), **{name: draw.random(MANY).astype("<f4") for name in ("x", "y", "value")}}
    return found | {"points": {name: base64.b64encode(values.tobytes()).decode() for name, values in columns.items()}, "low": 0.0, "high": 1.0}


def test_a_hundred_thousand_points_are_drawn_in_time(desk: Watched, places: np.ndarray) -> None:
    def answer(route: Route) -> None:
        route.fulfill(json=many(route.fetch().json()))

    desk.page.route(re.compile(r"/v1/.*/map\?"), answer)
    page = opened(desk)
    page.locator("[data-map] canvas").focus()
    took = []
    for key in ["+", "ArrowLeft", "ArrowUp", "+", "ArrowRight", "-", "-"] * 2:
        page.keyboard.press(key)
        drawn(page)
        took.append(page.evaluate("performance.getEntriesByName('glossator-map')[0].duration"))
    print(f"{MANY:,} points: {np.median(took):.1f} ms a frame, at most {max(took):.1f} ms")
    # Some 5 ms on an idle core; this machine may have others at work.
    assert np.median(took) < 150

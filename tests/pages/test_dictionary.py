"""The page of a dictionary: its figures arrive, and a span that is brushed is a filter."""

import re
from urllib.parse import parse_qs, urlsplit

from playwright.sync_api import expect

from tests.api.synthetic import NAME
from tests.pages.browsing import Watched

PATH = f"/dictionaries/{NAME}"


def test_the_page_shows_distributions_coverage_and_explainers(desk: Watched, phone: Watched) -> None:
    for watched in (desk, phone):
        page = watched.open(PATH)
        expect(page.get_by_role("heading", name="Distributions")).to_be_visible()
        expect(page.get_by_role("img", name=re.compile("^Score: 9 features from"))).to_be_visible()
        expect(page.get_by_role("row", name=re.compile("^pattern .*detection"))).to_be_visible()
        expect(page.get_by_role("row", name=re.compile("^dead 1"))).to_be_visible()
        expect(page.get_by_text("has no health report")).to_be_visible()
        watched.check_accessibility()
        watched.check_width()


def test_a_span_that_is_brushed_filters_the_table(desk: Watched) -> None:
    # The table itself is another test's matter.
    desk.expected = {404}
    page = desk.open(PATH)
    drawing = page.get_by_role("img", name=re.compile("^Score:"))
    box = drawing.bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + 20)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] + 5, box["y"] + 20)
    page.mouse.up()
    low, high = (float(page.get_by_label(f"Score {end}").input_value()) for end in ("from", "to"))
    assert low < high
    page.get_by_role("button", name="Show these features").click()
    page.wait_for_url(re.compile(r"/features\?"))
    asked = parse_qs(urlsplit(page.url).query)
    assert {name: float(value[0]) for name, value in asked.items()} == {"min_score": low, "max_score": high}


def test_a_span_is_written_by_keyboard_alone(desk: Watched) -> None:
    desk.expected = {404}
    page = desk.open(PATH)
    page.get_by_label("Lift over null from").focus()
    page.keyboard.type("0.1")
    page.keyboard.press("Enter")
    page.wait_for_url(re.compile(r"/features\?min_lift=0\.1$"))


def test_a_run_that_is_named_is_shown(desk: Watched) -> None:
    page = desk.open(f"{PATH}?run=1")
    expect(page.get_by_text("Run toy@1-res/1, corpus")).to_be_visible()
    desk.expected = {404}
    page = desk.open(f"{PATH}?run=9")
    expect(page.get_by_text("No run matches")).to_be_visible()

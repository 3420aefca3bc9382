"""The page of the search: what is typed is found, and stands in the address."""

import re

from playwright.sync_api import expect

from tests.pages.browsing import Watched


def test_what_is_typed_is_found_and_is_in_the_address(desk: Watched) -> None:
    page = desk.open("/search?mode=text")
    page.get_by_label("Words or meaning").press_sequentially("self")
    table = page.get_by_role("table")
    expect(table.get_by_role("row").nth(1)).to_be_visible()
    expect(table.locator("mark").first).to_have_text("self")
    page.wait_for_url(re.compile(r"q=self"))
    assert "min_score" not in page.url
    better = [text for text in table.locator("tbody tr td:nth-child(3)").all_inner_texts() if text != "–" and float(text) >= 0.7]
    page.get_by_label("Score from").fill("0.7")
    page.get_by_label("Score from").press("Enter")
    page.wait_for_url(re.compile(r"min_score=0\.7"))
    expect(table.get_by_role("row")).to_have_count(len(better) + 1)
    shown = table.inner_text()
    page.reload()
    expect(page.get_by_label("Words or meaning")).to_have_value("self")
    assert page.get_by_role("table").inner_text() == shown
    desk.check_accessibility()


def test_nothing_found_is_said(phone: Watched) -> None:
    page = phone.open("/search?q=zzzz&mode=text")
    expect(page.get_by_text("No label matches.")).to_be_visible()
    phone.check_width()

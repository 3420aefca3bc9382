"""The table of features: its address is the query, and keys walk it."""

import httpx
import pytest
from playwright.sync_api import Page, Route, expect

from api.server import Service
from tests.api.synthetic import FEATURES, NAME
from tests.pages.browsing import Watched

AT = f"/dictionaries/{NAME}/features"
BROWSER = {"Accept": "text/html"}


def listed(page: Page) -> list[str]:
    return page.locator("[data-row]").all_inner_texts()


def test_a_filter_changes_the_table_and_the_address_which_shows_the_same_again(desk: Watched) -> None:
    page = desk.open(AT)
    assert len(listed(page)) == FEATURES
    page.get_by_text("Figures", exact=True).click()
    page.get_by_label("Score, at least", exact=True).fill("0.7")
    page.get_by_label("Score, at least", exact=True).blur()
    page.wait_for_url("**/features?min_score=0.7")
    expect(page.locator("[data-row]")).to_have_count(3)
    assert listed(page) == ["7", "8", "9"]
    page.reload()
    assert listed(page) == ["7", "8", "9"]
    assert page.get_by_label("Score, at least", exact=True).input_value() == "0.7"


def test_typing_a_text_searches_and_a_heading_sorts(desk: Watched) -> None:
    page = desk.open(f"{AT}?sort=lift&order=desc")
    assert listed(page)[0] == "9"
    assert page.locator("th[aria-sort=descending]").inner_text().startswith("Lift")
    page.get_by_label("Text").press_sequentially("[3]")
    expect(page.locator("[data-row]")).to_have_count(1)
    assert "sort=lift" in page.url and "q=%5B3%5D" in page.url
    page.get_by_role("link", name="Score").click()
    assert "sort=score" in page.url and "q=%5B3%5D" in page.url


def test_a_ranking_by_words_has_the_filters_of_figures(desk: Watched) -> None:
    page = desk.open(f"{AT}?q=self&by=words&min_max_activation=12&label_explainer=pattern")
    assert sorted(listed(page)) == ["8", "9"]
    desk.check_accessibility()


def test_keys_walk_the_rows_show_a_preview_load_more_and_open(desk: Watched) -> None:
    page = desk.open(f"{AT}?limit=3&run=1")
    page.keyboard.press("j")
    page.keyboard.press("j")
    page.locator("#preview h2", has_text=f"{NAME}:1").wait_for()
    assert page.locator("tr[aria-current=true]").count() == 1
    page.keyboard.press("k")
    page.locator("#preview h2", has_text=f"{NAME}:0").wait_for()
    for _ in range(2):
        page.keyboard.press("j")
    page.keyboard.press("j")
    expect(page.locator("[data-row]")).to_have_count(6)
    expect(page.locator("[data-row]").nth(3)).to_be_focused()
    page.keyboard.press("/")
    assert page.evaluate("document.activeElement.id") == "q"
    page.keyboard.press("Escape")
    page.locator("[data-row]").nth(4).focus()
    page.keyboard.press("Enter")
    page.wait_for_url(f"**{AT}/4?run=1")


def test_a_preview_that_arrives_before_the_next_page_takes_no_focus(desk: Watched) -> None:
    page = desk.open(f"{AT}?limit=3&run=1")
    held: list[Route] = []
    page.route("**/features?*cursor=*", lambda route: held.append(route))
    with page.expect_request("**/features?*cursor=*"):
        for _ in range(4):
            page.keyboard.press("j")
    page.locator("#preview h2", has_text=f"{NAME}:2").wait_for()
    page.keyboard.press("j")
    for route in held:
        route.continue_()
    expect(page.locator("[data-row]").nth(3)).to_be_focused()
    assert len(listed(page)) == 6


def test_chosen_features_go_into_a_list_which_filters_the_table(desk: Watched) -> None:
    page = desk.open(AT)
    page.get_by_label("Choose feature 3").check()
    page.keyboard.press("j")
    page.keyboard.press("x")
    page.get_by_text("2 chosen").wait_for()
    page.get_by_label("into the list").fill("odd")
    page.keyboard.press("Enter")
    page.get_by_role("link", name="odd").wait_for()
    page.get_by_label("Choose feature 5").check()
    page.get_by_role("button", name="Add").click()
    page.get_by_text("3 features are in").wait_for()
    page.get_by_role("link", name="odd").click()
    expect(page.locator("[data-row]")).to_have_count(3)
    assert "list=odd" in page.url


def test_columns_are_chosen_and_a_phone_has_the_whole_table(desk: Watched, phone: Watched) -> None:
    page = phone.open(f"{AT}?columns=state&columns=density")
    assert page.locator("thead th").all_inner_texts() == ["Feature", "Label", "Density", "State"]
    phone.check_width()
    page = desk.open(AT)
    page.get_by_text("Columns", exact=True).click()
    page.get_by_label("Shrunken", exact=True).check()
    page.locator("thead th", has_text="Shrunken").wait_for()
    assert "columns=shrunken_score" in page.url


def test_a_refusal_is_shown_beside_the_table(desk: Watched) -> None:
    desk.expected = {422}
    page = desk.open(AT)
    page.get_by_text("Figures", exact=True).click()
    page.get_by_label("q, at most").fill("2")
    page.get_by_label("q, at most").blur()
    page.locator("#problem").get_by_text("less than or equal to 1").first.wait_for()
    assert len(listed(page)) == FEATURES
    desk.check_accessibility()


@pytest.mark.parametrize("query", ["min_score=&q=&by=label", "q=&state=&run=&sort=index"])
def test_a_form_without_scripts_sends_empty_fields(server: Service, query: str) -> None:
    page = httpx.get(f"{server.url}{AT}?{query}", headers=BROWSER)
    assert page.status_code == 200
    assert page.text.count("data-row>") == FEATURES


@pytest.mark.parametrize(
    "query", ["columns=none", "by=x", "min_score=nan", "scorer=detection", "q=a&by=words&sort=lift", "cursor=x", "run=none", "x=1"]
)
def test_what_cannot_be_asked_is_refused(server: Service, query: str) -> None:
    assert 400 <= httpx.get(f"{server.url}{AT}?{query}", headers=BROWSER).status_code < 500

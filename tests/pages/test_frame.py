"""What all pages promise: they stand by themselves, for a keyboard, a phone and a screen reader; and who may see them."""

from collections.abc import Iterator

import httpx
import pytest
from playwright.sync_api import Browser

from api.server import Service
from interp.config.settings import Settings
from interp.domain.access import Scope
from interp.store.access import keys
from interp.store.db.engine import make_engine, transaction
from tests import databases
from tests.api import synthetic
from tests.pages.browsing import Watched, watching

# Every page that can be had without a form: pages that are added belong here.
PAGES = [
    "/",
    "/sign-in",
    "/dictionaries/toy@1-res",
    "/dictionaries/none/features",
    "/dictionaries/toy@1-res/features",
    "/dictionaries/toy@1-res/features/7",
    "/explain",
    "/review",
    "/search?q=self&mode=text",
]
BROWSER = {"Accept": "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"}


@pytest.mark.parametrize("path", PAGES)
def test_a_page_is_without_faults_at_a_desk_and_on_a_phone(desk: Watched, phone: Watched, path: str) -> None:
    for watched in (desk, phone):
        watched.expected = {404}
        page = watched.open(path)
        assert page.locator("h1").count() == 1
        assert page.locator("html[lang=en] main").count() == 1
        watched.check_accessibility()
        watched.check_width()


def test_the_first_tab_stop_skips_to_the_content(desk: Watched) -> None:
    page = desk.open("/")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Skip to the content"
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "main"


def test_the_theme_follows_the_system_until_one_is_chosen(phone: Watched) -> None:
    page = phone.open("/")
    background = "getComputedStyle(document.body).backgroundColor"
    dark = page.evaluate(background)
    page.get_by_role("button", name="Theme: system").click()
    assert page.evaluate(background) != dark
    page.reload()
    page.get_by_role("button", name="Theme: light").click()
    assert page.evaluate(background) == dark


def test_the_home_page_lists_what_is_there(desk: Watched) -> None:
    page = desk.open("/")
    assert page.get_by_role("link", name=synthetic.NAME).count() == 1
    assert page.get_by_role("link", name="Home").get_attribute("aria-current") == "page"


def test_problems_are_pages_for_browsers_and_documents_for_programs(server: Service) -> None:
    for path, status in (("/none", 404), ("/v1/jobs/none", 404), ("/?x=1", 422), ("/v1/jobs?limit=x", 422)):
        page, document = (httpx.get(f"{server.url}{path}", headers=accept) for accept in (BROWSER, {}))
        assert page.status_code == document.status_code == status
        assert page.headers["content-type"].startswith("text/html")
        assert "'unsafe" not in page.headers["content-security-policy"]
        assert document.headers["content-type"] == "application/problem+json"
        assert document.json()["code"] in page.text


def test_texts_of_a_request_are_shown_as_texts(server: Service) -> None:
    page = httpx.get(f"{server.url}/dictionaries/%3Cscript%3Ealert(1)%3C%2Fscript%3E", headers=BROWSER)
    assert page.status_code == 404
    assert "<script>alert" not in page.text


@pytest.fixture(scope="module")
def closed(tmp_path_factory: pytest.TempPathFactory, browser: Browser) -> Iterator[tuple[Service, str]]:
    """A server with keys, and a key of it that reads."""
    settings = Settings(home=tmp_path_factory.mktemp("closed"))
    databases.upgrade_and_empty(settings.database_url)
    engine = make_engine(settings.database_url)
    with transaction(engine) as session:
        key = keys.create(session, "reader", [Scope.READ], "test").text
    with Service(settings, "127.0.0.1", 0, workers=False) as service:
        yield service, key
    engine.dispose()


def test_with_keys_a_browser_signs_in_and_out(browser: Browser, closed: tuple[Service, str]) -> None:
    service, key = closed
    with watching(browser, service.url) as watched:
        watched.expected = {401}
        page = watched.open("/?cursor=")
        watched.check_accessibility()
        page.get_by_label("API key").fill("gl_wrong")
        page.keyboard.press("Enter")
        page.get_by_text("The API key is not valid").wait_for()
        page.get_by_label("API key").fill(key)
        page.keyboard.press("Enter")
        page.get_by_role("heading", name="Dictionaries").wait_for()
        assert page.url == f"{service.url}/?cursor="
        page.get_by_role("button", name="Sign out").click()
        page.get_by_label("API key").wait_for()
        watched.open("/")
        assert page.get_by_label("API key").count() == 1


@pytest.mark.parametrize("to", ["//evil.example", "https://evil.example", "/\\evil.example", "javascript:alert(1)"])
def test_signing_in_leads_to_this_server_alone(browser: Browser, closed: tuple[Service, str], to: str) -> None:
    service, key = closed
    with watching(browser, service.url) as watched:
        page = watched.open("/sign-in?" + str(httpx.QueryParams(next=to)))
        page.get_by_label("API key").fill(key)
        page.keyboard.press("Enter")
        page.get_by_role("heading", name="Dictionaries").wait_for()
        assert page.url == f"{service.url}/"

"""A text of one's own, in a browser, with a real worker on a tiny model."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from api.server import Service
from interp.config.settings import Settings
from interp.domain.lifecycle import Queue
from interp.domain.spec import JobSpec
from interp.planning import preflight
from interp.store.db.engine import transaction
from interp.store.queue import jobs, workers
from tests import databases
from tests.pages.browsing import PHONE, Watched, watching
from tests.workers.test_live import NAME, Held, lane_of
from workers.runtime import Runtime
from workers.worker import drain

# Whether a worker has the model open depends on the tests before.
AT_WORK = re.compile("A worker is opening the model.|The model is at work.")
# A busy machine draws late.
expect.set_options(timeout=60_000)


@pytest.fixture(scope="module")
def runtime(tiny_job: JobSpec, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Runtime]:
    """A database with a complete job on a tiny model, and what a worker needs."""
    roots = (Path(tiny_job.subject.model).parent,)
    settings = Settings(home=tmp_path_factory.mktemp("try"), roots=roots, lease_seconds=3600)
    databases.upgrade_and_empty(settings.database_url)
    found = Runtime.of(settings)
    job = tiny_job.model_copy(update={"scorers": ()})
    with transaction(found.engine) as session:
        jobs.submit(session, job, preflight.check(job))
    drain(found, Queue.GPU, Queue.LLM)
    yield found
    found.engine.dispose()


@pytest.fixture(scope="module")
def service(runtime: Runtime) -> Iterator[Service]:
    with Service(runtime.settings, "127.0.0.1", 0, workers=False) as found:
        yield found


@pytest.fixture
def desk(browser: Browser, service: Service) -> Iterator[Watched]:
    with watching(browser, service.url) as found:
        yield found


def ask(page: Page, text: str) -> None:
    page.get_by_label("Text", exact=True).fill(text)
    page.get_by_role("button", name="Run the model").click()


def strongest(runtime: Runtime, service: Service) -> str:
    from glossator import Client

    with Client(service.url) as client:
        return str(max(client.list_features(NAME), key=lambda one: one["max_activation"])["index"])


def test_a_features_page_marks_a_text_and_ranks_features(desk: Watched, runtime: Runtime, service: Service) -> None:
    with lane_of(runtime):
        page = desk.open(f"/dictionaries/{NAME}/features/{strongest(runtime, service)}")
        text = "def value(self):\n    return None <b>x</b>"
        ask(page, text)
        box = page.locator("[data-try]")
        expect(box.get_by_text("Strongest features", exact=True)).to_be_visible()
        # The text is shown as it is: no markup of it takes effect.
        assert box.locator(".text").first.text_content() == text
        assert box.locator(".text b").count() == 0
        assert page.evaluate("[...document.querySelectorAll('.try mark')].every((one) => one.style.getPropertyValue('--shade') > 0)")
        box.get_by_role("button", name="Show where").first.click()
        expect(box.locator(".text mark.peak").first).to_be_visible()
        desk.check_accessibility()
        desk.check_width()


def test_a_text_is_kept_as_a_note_of_the_feature(desk: Watched, runtime: Runtime, service: Service) -> None:
    with lane_of(runtime):
        page = desk.open(f"/dictionaries/{NAME}/features/{strongest(runtime, service)}")
        ask(page, "def value(self):\n    return <b>kept</b>")
        page.get_by_role("button", name="Keep this text as a note").click()
        notes = page.get_by_role("list", name="Reviews and notes")
        expect(notes).to_contain_text("<b>kept</b>")
        expect(page.get_by_role("button", name="Kept as a note")).to_be_disabled()
        desk.check_accessibility()
        desk.check_width()
        page.reload()
        expect(notes).to_contain_text(re.compile(r"Largest activation [\d.e+-]+ at .* on the text"))


def test_a_dictionarys_page_compares_two_texts(desk: Watched, runtime: Runtime) -> None:
    with lane_of(runtime):
        page = desk.open(f"/dictionaries/{NAME}")
        page.get_by_text("Compare with another text").click()
        page.locator("#try-against").fill("None")
        ask(page, "while list: import self")
        expect(page.get_by_text("More on the first text than on the second").first).to_be_visible()
        desk.check_accessibility()


def test_a_search_by_activation_ranks_the_features_of_a_text(desk: Watched, runtime: Runtime) -> None:
    page = desk.open("/search")
    page.get_by_label("Dictionary").last.select_option(NAME)
    with lane_of(runtime):
        ask(page, "while list: import self")
        expect(page.locator("[data-try]").get_by_text("Strongest features", exact=True)).to_be_visible()
    desk.check_accessibility()


def test_a_feature_steers_a_text_from_the_keyboard(desk: Watched, runtime: Runtime, service: Service) -> None:
    with lane_of(runtime):
        page = desk.open(f"/dictionaries/{NAME}/features/{strongest(runtime, service)}")
        page.get_by_label("Text", exact=True).fill("def ")
        page.get_by_text("Let the model write").focus()
        page.keyboard.press("Enter")
        page.get_by_label("Strength").fill("8")
        page.get_by_label("New tokens").fill("4")
        page.keyboard.press("Enter")
        expect(page.get_by_role("heading", name="Without the feature")).to_be_visible()
        assert page.locator(".try .new").count() == 2
        desk.check_accessibility()


def test_the_page_says_what_it_waits_for_and_cancels(browser: Browser, runtime: Runtime, service: Service) -> None:
    held = Held()
    with lane_of(runtime, held), watching(browser, service.url, viewport=PHONE, color_scheme="dark") as phone:
        page = phone.open("/")
        ask(page, "def")
        expect(page.locator("[data-try-progress]")).to_have_text(AT_WORK)
        page.get_by_role("button", name="Cancel").click()
        expect(page.locator("[data-try-progress]")).to_have_text("Cancelled.")
        # The worker is told that nobody waits.
        assert held.ended.wait(60)
        phone.check_accessibility()
        phone.check_width()


def test_a_browser_that_leaves_ends_the_work(browser: Browser, runtime: Runtime, service: Service) -> None:
    held = Held()
    with lane_of(runtime, held):
        with watching(browser, service.url) as found:
            ask(found.open("/"), "def")
            assert held.began.wait(60)
        assert held.ended.wait(60)


def test_without_a_worker_the_page_says_so(desk: Watched, runtime: Runtime) -> None:
    with transaction(runtime.engine) as session:
        workers.gone(session, runtime.owner)
    desk.expected = {503}
    page = desk.open("/")
    ask(page, "def")
    expect(page.locator("[data-try-problem]")).to_contain_text("No gpu worker is there")

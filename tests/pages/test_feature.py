"""The page of a feature: what is known of it, how far to trust it, and where it comes from."""

import httpx
import pytest
from playwright.sync_api import Browser
from sqlalchemy import update

from api.pages import feature_view
from api.pages.figures import LEVELS, level
from api.schemas.explanations import ExplanationAnswer
from api.server import Service
from interp.config.settings import Settings
from interp.store.db.engine import make_engine, transaction
from interp.store.db.tables import ExplanationRow
from tests import databases
from tests.api import synthetic
from tests.api.synthetic import DEAD, NAME
from tests.pages.browsing import Watched, watching

AT = f"/dictionaries/{NAME}/features"
BROWSER = {"Accept": "text/html"}


def test_a_score_stands_beside_its_null_with_every_item_and_its_verdict(desk: Watched) -> None:
    page = desk.open(f"{AT}/7")
    article = page.locator(".explanation").first
    assert "0.70 [0.60, 0.80]" in article.inner_text()
    assert article.locator("svg circle.s0").count() == article.locator("svg circle.s1").count() == 1
    assert "+0.20 [0.10, 0.30]" in article.inner_text()
    article.get_by_text("Every item of detection").click()
    article.get_by_role("button", name="unanswered 1").click()
    assert article.locator("[data-verdict]:not([hidden])").count() == 1
    assert "timeout" in article.locator("[data-verdict]:not([hidden])").inner_text()
    article.get_by_role("button", name="true positive 1").click()
    assert "top; truth 1.00, judge 1.00" in article.locator("[data-verdict]:not([hidden])").inner_text()
    desk.check_accessibility()


def test_tokens_say_their_activation_and_contexts_their_split(desk: Watched) -> None:
    page = desk.open(f"{AT}/7")
    strongest = page.locator("mark.peak").first
    strongest.hover()
    assert page.locator("#tip").inner_text() == "self  11.0000"
    assert strongest.get_attribute("class") == f"t a{LEVELS} peak"
    shown = page.locator(".all-contexts li[data-split]:not([hidden])")
    before = shown.count()
    page.get_by_role("button", name="test split").click()
    assert 0 < shown.count() < before
    assert {line.get_attribute("data-split") for line in shown.all()} == {"test"}


def test_arrow_keys_read_the_tokens_of_a_context(desk: Watched) -> None:
    page = desk.open(f"{AT}/7")
    page.locator(".context").first.focus()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowLeft")
    assert page.locator("#tip").inner_text() == page.locator("#status").text_content() == "self  11.0000"
    page.keyboard.press("Tab")
    assert page.locator("#tip").is_hidden()


def test_line_breaks_are_signs_until_they_are_rendered_and_controls_never_act(desk: Watched) -> None:
    page = desk.open(f"{AT}/7")
    context = page.locator(".context").first
    assert "self.↵→caf" in context.inner_text() and "␛[2J" in context.inner_text()
    low = context.bounding_box()
    page.get_by_role("button", name="line breaks").click()
    high = context.bounding_box()
    assert low and high and high["height"] > low["height"]


def test_the_provenance_is_read_when_it_is_opened(desk: Watched) -> None:
    page = desk.open(f"{AT}/7")
    page.get_by_text("Provenance: exact prompts").click()
    page.get_by_text("In all: 0 calls").wait_for()
    page.get_by_text("2 borrowed labels, its null").wait_for()
    desk.check_accessibility()


def test_one_walks_from_feature_to_feature(desk: Watched) -> None:
    page = desk.open(f"{AT}/7?run=1")
    page.keyboard.press("n")
    page.wait_for_url(f"**{AT}/8?run=1")
    page.get_by_role("link", name="previous").click()
    page.wait_for_url(f"**{AT}/7?run=1")
    page.get_by_role("link", name="random").click()
    page.wait_for_url(f"**{AT}/*?run=1")
    assert desk.open(f"{AT}/0").locator("[data-before]").count() == 0


def test_what_never_fires_and_what_has_no_label_says_so(desk: Watched) -> None:
    page = desk.open(f"{AT}/{DEAD}")
    assert "It fires nowhere" in page.locator("main").inner_text()
    assert "No label: no context fires" in page.locator("main").inner_text()
    desk.check_accessibility()


def test_a_frame_is_allowed_where_the_settings_say_and_nowhere_else(server: Service) -> None:
    plain, embedded = (httpx.get(f"{server.url}{AT}/7{query}", headers=BROWSER) for query in ("", "?embed=1"))
    for page in (plain, embedded):
        assert "frame-ancestors 'none'" in page.headers["content-security-policy"]
    assert "<nav" in plain.text and "<nav" not in embedded.text


def test_the_settings_allow_frames(tmp_path_factory: pytest.TempPathFactory, browser: Browser) -> None:
    settings = Settings(home=tmp_path_factory.mktemp("embedding"), embed_origins="https://a.example.org")
    databases.upgrade_and_empty(settings.database_url)
    engine = make_engine(settings.database_url)
    synthetic.fill(engine)
    engine.dispose()
    with Service(settings, "127.0.0.1", 0, workers=False) as service:
        policies = [
            httpx.get(f"{service.url}{AT}/7{query}", headers=BROWSER).headers["content-security-policy"] for query in ("?embed=1", "", "?embed=0")
        ]
        assert ["frame-ancestors https://a.example.org" in policy for policy in policies] == [True, False, False]
        with watching(browser, service.url) as watched:
            watched.open(f"{AT}/7?embed=1")
            watched.check_accessibility()


TRIED = {
    "text": "def f(self)",
    "idea": 0,
    "expected": True,
    "fires": True,
    "max": 3.5,
    "tokens": ["def f(", "self", ")<b>"],
    "activations": [0, 3.5, 0],
}
ROUNDS = [{"ideas": ["the word self", "<i>a bracket"], "texts": [TRIED, TRIED | {"idea": None}], "failure": None, "prompt_digest": "", "calls": []}]


def test_what_an_explainer_tried_stands_with_its_label(tmp_path_factory: pytest.TempPathFactory, browser: Browser) -> None:
    settings = Settings(home=tmp_path_factory.mktemp("tried"))
    databases.upgrade_and_empty(settings.database_url)
    engine = make_engine(settings.database_url)
    synthetic.fill(engine)
    with transaction(engine) as session:
        session.execute(update(ExplanationRow).where(ExplanationRow.feature == 7).values(provenance={"seed": 0, "rounds": ROUNDS}))
    engine.dispose()
    with Service(settings, "127.0.0.1", 0, workers=False) as service, watching(browser, service.url) as watched:
        page = watched.open(f"{AT}/7")
        page.get_by_text("Ideas, and the texts that it tried").first.click()
        shown = page.locator(".explanation").first.inner_text()
        assert "the word self" in shown and "<i>a bracket" in shown
        assert "max 3.5" in shown and "by idea 1 it fires" in shown and ")<b>" in shown
        watched.check_accessibility()


@pytest.mark.parametrize(
    "found", [None, 3, "x", [3], [{"label": "a label", "tried": 0.5}], [ROUNDS[0] | {"texts": [TRIED | {"tokens": []}]}], [ROUNDS[0] | {"ideas": 5}]]
)
def test_rounds_of_another_kind_are_not_shown(found: object) -> None:
    made = ExplanationAnswer.model_construct(provenance={"rounds": found})
    assert feature_view.rounds(made) == []
    assert feature_view.rounds(ExplanationAnswer.model_construct(provenance={})) == []


@pytest.mark.parametrize("path", ["/99", "/x", "/7/items/999999", "/7?run=none", "/7?explainer=", "/99999999999", "/7-", "/random?run=none"])
def test_what_is_not_there_is_refused(server: Service, path: str) -> None:
    assert 400 <= httpx.get(f"{server.url}{AT}{path}", headers=BROWSER).status_code < 500


@pytest.mark.parametrize(("value", "expected"), [(0.0, 0), (0.5, 0), (1e-9, 0), (0.6, 12), (10.0, LEVELS), (50.0, LEVELS)])
def test_shades_grow_with_the_activation_above_the_firing_level(value: float, expected: int) -> None:
    found = level(value, 1.0 if value < 1 else 10.0, 0.5)
    assert found == expected or (0 < found < LEVELS and 0 < expected < LEVELS)


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        (None, 'load_from_disk("the folder'),
        ("/a/'b", """load_from_disk("/a/'b")"""),
        ("hf://org/name/blocks.6/x", "from_pretrained('org/name', 'blocks.6/x')"),
    ],
)
def test_saelens_opens_what_the_job_read(source: str | None, expected: str) -> None:
    code = feature_view.loading(source, "blocks.1.hook_resid_post", 7)
    compile(code, "snippet", "exec")
    assert expected in code and "W_dec[7]" in code

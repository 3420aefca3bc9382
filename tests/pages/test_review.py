"""The page of reviews: by keyboard alone, one label after another."""

from collections.abc import Iterator

import pytest
from playwright.sync_api import expect
from sqlalchemy import Engine, delete, func, select

from api.server import Service
from interp.store.db.engine import make_engine, snapshot, transaction
from interp.store.db.tables import ReviewRow
from tests.api.synthetic import NAME
from tests.pages.browsing import Watched


@pytest.fixture
def database(server: Service) -> Iterator[Engine]:
    """The server's database, without the reviews of this test in the end."""
    engine = make_engine(server._settings.database_url)
    yield engine
    with transaction(engine) as session:
        session.execute(delete(ReviewRow))
    engine.dispose()


def test_labels_are_judged_by_keyboard_one_after_another(desk: Watched, database: Engine) -> None:
    page = desk.open("/review?order=random&seed=1")
    heading = page.locator("#judged")
    labels = []
    for key in ("a", "f"):
        labels.append(heading.inner_text())
        page.keyboard.press(key)
        expect(heading).not_to_have_text(labels[-1])
    skipped = heading.inner_text()
    page.keyboard.press("n")
    expect(heading).not_to_have_text(skipped)
    expect(page.get_by_text("2 verdicts in run")).to_be_visible()
    expect(page.get_by_text("It takes 5 accepted labels")).to_be_visible()
    with snapshot(database) as session:
        written = session.execute(select(ReviewRow.label, ReviewRow.verdict, ReviewRow.author).order_by(ReviewRow.id)).all()
    assert [tuple(row) for row in written] == [(labels[0], "accept", "local"), (labels[1], "flag", "local")]
    desk.check_accessibility()


def test_a_comment_is_said_before_the_next_person(phone: Watched, database: Engine) -> None:
    page = phone.open("/review")
    page.get_by_role("button", name="Comment alone").click()
    with snapshot(database) as session:
        assert session.scalar(select(func.count()).select_from(ReviewRow)) == 0
    page.get_by_label("Comment, goes with any verdict").fill("which self?")
    page.get_by_role("button", name="Comment alone").click()
    expect(page.get_by_role("listitem").filter(has_text="which self?")).to_be_visible()
    phone.check_width()
    phone.check_accessibility()


def test_a_fault_is_reported_where_the_label_is_read(desk: Watched, database: Engine) -> None:
    page = desk.open(f"/dictionaries/{NAME}/features/7")
    page.get_by_text("Report a fault of the label").click()
    page.get_by_label("What it is").select_option("A note")
    page.get_by_role("button", name="Send").click()
    expect(page.get_by_text("Write it first.")).to_be_visible()
    page.get_by_label("In words").fill("fires in tests <b>alone</b>")
    page.get_by_role("button", name="Send").click()
    notes = page.get_by_role("list", name="Reviews and notes")
    expect(notes).to_contain_text("fires in tests <b>alone</b>")
    page.get_by_label("What it is").select_option("The label is wrong")
    page.get_by_role("button", name="Send").click()
    with snapshot(database) as session:
        expect(notes.get_by_text("the label is wrong")).to_be_visible()
        written = session.execute(select(ReviewRow.verdict, ReviewRow.comment).order_by(ReviewRow.id)).all()
    assert (written[0].verdict, written[0].comment) == ("comment", "fires in tests <b>alone</b>")
    desk.check_accessibility()

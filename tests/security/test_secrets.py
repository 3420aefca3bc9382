"""Keys and passwords of a process: not in its environment, and not in that of its children."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from interp.config.secrets import DESCRIPTOR, conceal, start_child, take_inherited
from interp.config.settings import SECRETS, Settings

KEY, PASSWORD, FOREIGN = "sk-of-the-server", "of-the-database", "of-the-bucket"
LOOK = """
import json, os
from pathlib import Path
before = Path("/proc/self/environ").read_text()
from interp.config.settings import settings
found = settings()
print(json.dumps({
    "key": found.llm_api_key.get_secret_value(),
    "database": found.database_url,
    "keys": {url: key.get_secret_value() for url, key in found.llm_keys.items()},
    "before": before,
    "after": Path("/proc/self/environ").read_text(),
    "variables": dict(os.environ),
}))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="/proc is Linux's")
def test_secrets_leave_the_environment_once_they_are_read(tmp_path: Path) -> None:
    named = {
        "OPENAI_API_KEY": KEY,
        "GLOSSATOR_DATABASE_URL": f"postgresql://user:{PASSWORD}@host/db",
        "AWS_SECRET_ACCESS_KEY": FOREIGN,
        "GLOSSATOR_HOME": str(tmp_path),
    }
    ran = subprocess.run([sys.executable, "-c", LOOK], env=os.environ | named, capture_output=True, check=True)
    found = json.loads(ran.stdout)
    assert (found["key"], PASSWORD in found["database"]) == (KEY, True)
    for secret in (KEY, PASSWORD, FOREIGN):
        assert secret in found["before"]
        assert secret not in found["after"]
    assert found["variables"]["AWS_SECRET_ACCESS_KEY"] == FOREIGN, "its library reads it when it needs it"
    assert not {"OPENAI_API_KEY", "GLOSSATOR_DATABASE_URL"} & set(found["variables"])


@pytest.mark.skipif(sys.platform != "linux", reason="/proc is Linux's")
def test_a_child_gets_them_over_a_pipe(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path, llm_api_key=KEY, llm_keys={"http://a/v1": KEY * 20_000}, database_url=f"postgresql://user:{PASSWORD}@host/db")
    with start_child([sys.executable, "-c", LOOK], settings.environment(), settings.secret_environment(), stdout=subprocess.PIPE) as child:
        found = json.loads(child.communicate()[0])
    assert (found["key"], found["database"]) == (KEY, settings.database_url)
    assert found["keys"] == {"http://a/v1": KEY * 20_000}
    assert not [secret for secret in (KEY, PASSWORD) if secret in found["before"] + found["after"]]
    assert not (SECRETS | {DESCRIPTOR}) & set(found["variables"])


def test_a_child_that_ends_at_once_is_no_error(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path, llm_keys={"http://a/v1": KEY * 20_000})
    with start_child(["/bin/true"], settings.environment(), settings.secret_environment()) as child:
        assert child.wait() == 0


def test_every_secret_setting_is_among_them() -> None:
    hidden = {f"GLOSSATOR_{name.upper()}" for name, field in Settings.model_fields.items() if "Secret" in str(field.annotation)}
    assert hidden <= SECRETS


def test_what_is_inherited_can_be_concealed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GLOSSATOR_LLM_API_KEY", "of before")
    reading, writing = os.pipe()
    os.write(writing, json.dumps({"GLOSSATOR_LLM_API_KEY": KEY}).encode())
    os.close(writing)
    monkeypatch.setenv(DESCRIPTOR, str(reading))
    take_inherited()
    assert os.environ["GLOSSATOR_LLM_API_KEY"] == KEY
    conceal(["GLOSSATOR_LLM_API_KEY"])
    assert "GLOSSATOR_LLM_API_KEY" not in os.environ

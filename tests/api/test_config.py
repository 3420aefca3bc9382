"""`glossator config`: every setting, with its value, unit and source, and no secret."""

import json
import os
import subprocess
import sys
from pathlib import Path

from interp.config.environment import variable_of
from interp.config.settings import Settings

RUN = "from api.cli import main; main()"


def run(home: Path, *arguments: str) -> str:
    secrets = {
        "GLOSSATOR_LLM_KEYS": '{"https://a.example/v1": "hidden"}',
        "OPENAI_API_KEY": "hidden",
        "GLOSSATOR_DATABASE_URL": "postgresql://user:hidden@host/name",
        "GLOSSATOR_ARTIFACT_OPTIONS": '{"key": "hidden"}',
    }
    environment = os.environ | {"GLOSSATOR_HOME": str(home), "GLOSSATOR_LEASE_SECONDS": "60"} | secrets
    done = subprocess.run([sys.executable, "-c", RUN, "config", *arguments], env=environment, capture_output=True, text=True, check=True)
    assert "hidden" not in done.stdout + done.stderr
    return done.stdout


def test_every_setting_is_printed_once_with_its_unit_and_source(tmp_path: Path) -> None:
    shown = {each["variable"]: each for each in json.loads(run(tmp_path, "--json"))}
    assert list(shown) == [variable_of(name) for name in Settings.model_fields]
    assert all(each["description"] and each["group"] for each in shown.values())
    lease = shown["GLOSSATOR_LEASE_SECONDS"]
    assert (lease["value"], lease["unit"], lease["source"]) == (60.0, "seconds", "environment")
    assert (shown["GLOSSATOR_LLM_API_KEY"]["value"], shown["GLOSSATOR_LLM_API_KEY"]["source"]) == ("***", "environment")
    assert shown["GLOSSATOR_LLM_KEYS"]["value"] == {"https://a.example/v1": "***"}
    assert shown["GLOSSATOR_PORT"]["source"] == "default"


def test_people_read_it_by_group(tmp_path: Path) -> None:
    text = run(tmp_path)
    assert "GLOSSATOR_LEASE_SECONDS=60.0 seconds  (environment)" in text
    assert "\nLanguage models\n" in text

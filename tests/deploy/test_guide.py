"""docs/deploy.md and the README name what is there."""

import re
from pathlib import Path

import pytest

from interp.config.settings import Settings
from tests.deploy.house import ROOT, dockerfile_targets, is_setting, parse_command

PAGES = [ROOT / "docs" / "deploy.md", ROOT / "README.md"]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_variable_is_a_setting(page: Path) -> None:
    compose = {"GLOSSATOR_DATA", "GLOSSATOR_BIND", "GLOSSATOR_PORT"}
    variables = set(re.findall(r"GLOSSATOR_[A-Z_*]+", page.read_text()))
    assert variables
    for variable in variables - compose:
        stem, _, rest = variable.removeprefix("GLOSSATOR_").lower().partition("*")
        assert is_setting(variable) or any(name.startswith(stem) and name.endswith(rest) for name in Settings.model_fields), variable


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_leads_somewhere(page: Path) -> None:
    folder = page.parent
    for target in re.findall(r"\]\(([^)#]+)\)", page.read_text()):
        assert target.startswith("http") or (folder / target).exists(), target


def test_every_command_of_the_guide_is_one() -> None:
    text = PAGES[0].read_text()
    for command in re.findall(r"`(glossator (?:serve|worker|db)[^`]*)`", text):
        parse_command(command.split())
    for module in re.findall(r"`python -m (benches\.\w+)`", text):
        assert (ROOT / f"{module.replace('.', '/')}.py").exists(), module
    for target in re.findall(r"docker build --target (\S+)", text):
        assert target in dockerfile_targets()
    makefile = (ROOT / "Makefile").read_text()
    for target in re.findall(r"`make ([a-z-]+)`", text):
        assert re.search(rf"(?m)^{target}:", makefile), target

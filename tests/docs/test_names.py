"""Check every name in the documents: paths, modules, settings, commands, routes, targets of make and docker, and links."""

import re
import shlex
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import typer

from api.app import create_app
from api.cli import app
from interp.config import environment
from interp.config.settings import Settings
from interp.domain.spec import JobSpec
from tests.deploy.house import FOREIGN, ROOT, dockerfile_targets

FOLDERS = ("api", "benches", "deploy", "docs", "examples", "glossator", "interp", "migrations", "tests", "workers")
DOCUMENTS = sorted([*ROOT.glob("*.md"), *(path for folder in FOLDERS for path in (ROOT / folder).rglob("*.md"))])
# The changelog names what was there once.
EXEMPT = {ROOT / "CHANGELOG.md"}
# Variables of docker-compose.yml; those that the tests read are looked up in the tests.
COMPOSE = {"GLOSSATOR_DATA", "GLOSSATOR_BIND", "GLOSSATOR_PORT"}

each_document = pytest.mark.parametrize("document", [path for path in DOCUMENTS if path not in EXEMPT], ids=lambda path: str(path.relative_to(ROOT)))


@cache
def text_of(document: Path) -> str:
    return document.read_text(encoding="utf-8")


def blocks_of(document: Path) -> str:
    """Return the text of the fenced blocks."""
    return "\n".join(re.findall(r"(?ms)^```[^\n]*\n(.*?)^```", text_of(document)))


def spans_of(document: Path) -> list[str]:
    """Return the inline code of the document, fenced blocks left out."""
    prose = re.sub(r"(?ms)^```.*?^```", "", text_of(document))
    return re.findall(r"`([^`\n]+)`", prose)


def words_of(document: Path) -> Iterator[str]:
    for span in spans_of(document):
        yield from (word.strip(",;") for word in span.split())


@cache
def files() -> tuple[str, ...]:
    """Return the path of every file of the repository's folders, from the root."""
    nested = (path for folder in FOLDERS for path in (ROOT / folder).rglob("*") if "__pycache__" not in path.parts)
    return tuple(path.relative_to(ROOT).as_posix() for path in (*ROOT.iterdir(), *nested) if path.is_file())


def is_file(name: str) -> bool:
    """Return whether a file of the repository has this path, or a path that ends in it."""
    return any(path == name or path.endswith(f"/{name}") for path in files())


def is_module(name: str) -> bool:
    """Return whether a dotted name is a module, a package, or a name that a module defines."""
    path = name.replace(".", "/")
    if (ROOT / path).is_dir() or (ROOT / f"{path}.py").is_file():
        return True
    parent, _, attribute = path.rpartition("/")
    source = next((file for file in (ROOT / f"{parent}.py", ROOT / parent / "__init__.py") if file.is_file()), None)
    beginning = "" if source is not None and source.name == "__init__.py" else "^(?:(?:async )?def |class |)"
    return source is not None and re.search(rf"(?m){beginning}\b{attribute}\b", source.read_text()) is not None


@each_document
def test_every_path_exists(document: Path) -> None:
    """Bare names of Python files may also be names of files that the document itself prints."""
    printed = set(re.findall(r"(?m)^# ([\w-]+\.\w+)$", blocks_of(document)))
    for word in words_of(document):
        if re.fullmatch(rf"(?:{'|'.join(FOLDERS)})(?:/[\w.-]+)*/?", word) and "/" in word:
            assert (ROOT / word).exists() or is_file(word), word
        elif re.fullmatch(r"[\w-]+/", word):
            assert any(f"/{word}" in f"/{path}" for path in files()), word
        elif re.fullmatch(r"[\w-][\w./-]*\.(?:py|md|ya?ml)", word):
            assert is_file(word) or word in printed, word


@each_document
def test_every_module_exists(document: Path) -> None:
    for word in words_of(document):
        if re.fullmatch(rf"(?:{'|'.join(FOLDERS)})(?:\.[A-Za-z_]\w*)+", word) and not word.endswith((".py", ".md", ".toml")):
            assert is_module(word), word
    for module in re.findall(rf"python -m ((?:{'|'.join(FOLDERS)})[.\w]*)", text_of(document)):
        path = ROOT / module.replace(".", "/")
        assert path.with_suffix(".py").is_file() or (path / "__main__.py").is_file(), module


@each_document
def test_every_variable_is_a_setting(document: Path) -> None:
    known = {environment.variable_of(field) for field in Settings.model_fields} | FOREIGN | COMPOSE
    tests = "\n".join(path.read_text() for path in ROOT.glob("tests/*.py"))
    for variable in set(re.findall(r"GLOSSATOR_[A-Z0-9_*.]*[A-Z0-9_*]", text_of(document))):
        if variable.startswith("GLOSSATOR_TEST_"):
            assert variable in tests, variable
            continue
        pattern = re.escape(variable).replace(r"\.\.\.", ".+").replace(r"\*", ".+")
        assert any(re.fullmatch(pattern, name) for name in known), variable


@each_document
def test_every_field_of_a_job_exists(document: Path) -> None:
    """Fields are written as `collection.left_context`."""
    schema = JobSpec.model_json_schema()
    for word in words_of(document):
        parent, _, field = word.partition(".")
        if parent in schema["properties"] and re.fullmatch(r"[a-z_]+", field):
            references = re.findall(r"'\$ref': '#/\$defs/(\w+)'", str(schema["properties"][parent]))
            known = set().union(*(schema["$defs"][name].get("properties", {}) for name in references))
            assert field in known or is_file(word), word


@each_document
def test_every_command_exists_and_has_its_options(document: Path) -> None:
    commands = [span for span in spans_of(document) if re.match(r"glossator\b(?! \.\.\.)", span)]
    commands += re.findall(r"(?m)^(?:\.venv/bin/|docker compose exec \S+ )?(glossator [^#\n&|]*)", blocks_of(document))
    for line in commands:
        check_command(shlex.split(line))


def check_command(words: list[str]) -> None:
    """Assert that the first words name a command, and that each option is one of it."""
    command: Any = typer.main.get_command(app)
    rest = words[1:]
    while hasattr(command, "commands") and rest and not rest[0].startswith("-"):
        assert rest[0] in command.commands, " ".join(words)
        command, rest = command.commands[rest[0]], rest[1:]
    options = {name for parameter in command.params for name in (*parameter.opts, *parameter.secondary_opts)} | {"--help"}
    assert {word.partition("=")[0] for word in rest if re.match(r"--[a-z]", word)} <= options, " ".join(words)


@pytest.fixture(scope="module")
def routes(tmp_path_factory: pytest.TempPathFactory) -> dict[str, set[str]]:
    """Return the methods of each path of the OpenAPI document."""
    document = create_app(Settings(home=tmp_path_factory.mktemp("home"))).openapi()
    return {path: {method.upper() for method in methods} for path, methods in document["paths"].items()}


@each_document
def test_every_route_is_in_the_openapi_document(document: Path, routes: dict[str, set[str]]) -> None:
    for method, route in re.findall(r"(?:\b(GET|POST|PUT|DELETE|PATCH) )?(?<![\w.]/api)(?<!:8000)(/v1/[\w{}$@./…-]+)", text_of(document)):
        wanted = [segment for segment in re.sub(r"[./]+$", "", route).split("/") if segment]
        fitting = [known for known in routes if fits(known.strip("/").split("/"), wanted)]
        assert fitting, route
        assert not method or any(method in routes[known] for known in fitting), f"{method} {route}"


def fits(known: list[str], wanted: list[str]) -> bool:
    """Return whether the segments of a route stand for those of a document, in which a parameter may have a value."""
    is_same = len(known) == len(wanted)
    return is_same and all(one.startswith("{") or one == other for one, other in zip(known, wanted, strict=True))


@each_document
def test_every_target_exists(document: Path) -> None:
    for target in re.findall(r"docker build --target (\S+)", text_of(document)):
        assert target in dockerfile_targets()
    makefile = (ROOT / "Makefile").read_text()
    for target in re.findall(r"(?m)(?:`|^)make ([a-z-]+)\b", text_of(document)):
        assert re.search(rf"(?m)^{target}:", makefile), target


def anchors_of(document: Path) -> set[str]:
    """Return the anchors that GitHub gives to the headings."""
    headings = re.findall(r"(?m)^#{1,6} (.+?)\s*$", re.sub(r"(?ms)^```.*?^```", "", text_of(document)))
    plain = (re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).lower() for heading in headings)
    return {re.sub(r"[^\w\- ]", "", heading).replace(" ", "-") for heading in plain}


@each_document
def test_every_link_and_anchor_exists(document: Path) -> None:
    prose = re.sub(r"(?ms)^```.*?^```", "", text_of(document))
    for target, anchor in re.findall(r"\]\(([^)#\s]*)(?:#([^)\s]+))?\)", prose):
        if target.startswith(("http://", "https://")):
            continue
        page = (document.parent / target).resolve() if target else document
        assert page.exists(), target
        assert not anchor or anchor in anchors_of(page), f"{target}#{anchor}"


def test_every_document_that_the_code_names_exists() -> None:
    for name in (name for name in files() if name.endswith(".py") and name != "tests/docs/test_names.py"):
        for document in re.findall(r"docs/[\w-]+\.md", (ROOT / name).read_text(encoding="utf-8")):
            assert (ROOT / document).is_file(), f"{name}: {document}"

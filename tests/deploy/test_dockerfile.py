"""The images: what they are made of, and that they are made as the tests' own environment is."""

import fnmatch
import json
import re
import subprocess
import sysconfig
from pathlib import Path

import pytest

from tests.deploy.house import ROOT, dockerfile_targets, is_setting, packages, parse_command, project

TARGETS = ("api", "worker", "worker-cpu", "worker-gpu")


def test_hadolint_finds_nothing_to_say() -> None:
    hadolint = Path(sysconfig.get_path("scripts")) / "hadolint"
    found = subprocess.run([hadolint, "--no-color", ROOT / "Dockerfile"], capture_output=True, text=True, check=False)
    assert (found.returncode, found.stdout) == (0, "")


@pytest.mark.parametrize("target", TARGETS)
def test_images_run_as_nobody_and_say_whether_they_are_well(target: str) -> None:
    lines = dockerfile_targets()[target]
    assert re.findall(r"(?m)^USER (.*)", lines)[-1] == "10001"
    assert "HEALTHCHECK" in lines
    assert {is_setting(name) for name in re.findall(r"\b(GLOSSATOR_[A-Z_]+)=", lines)} == {True}
    parse_command(json.loads(re.findall(r"(?m)^CMD (.*)", lines)[-1]))


def test_the_api_alone_listens_where_others_reach_it() -> None:
    targets = dockerfile_targets()
    for target in TARGETS:
        assert ("GLOSSATOR_HOST=0.0.0.0" in targets[target]) == (target == "api")


def test_health_is_asked_where_it_is_answered() -> None:
    targets = dockerfile_targets()
    assert ":8420/readyz" in targets["api"]
    assert "EXPOSE 8420" in targets["api"]
    for target in TARGETS[1:]:
        assert ":9420/healthz" in targets[target]
        assert "GLOSSATOR_HEALTH_PORT=9420" in targets[target]


@pytest.mark.parametrize(
    ("target", "built_in"), [("api", "build-lean"), ("worker", "build-lean"), ("worker-cpu", "build-cpu"), ("worker-gpu", "build-gpu")]
)
def test_images_take_their_packages_from_the_stage_that_fits(target: str, built_in: str) -> None:
    assert f"COPY --from={built_in} /opt/glossator /opt/glossator" in dockerfile_targets()[target]


def test_the_lean_images_have_no_torch() -> None:
    lean = packages(*extras_of("build-lean"))
    assert {"fastapi", "celery", "psycopg", "s3fs", "opentelemetry-sdk"} <= lean
    assert not lean & {"torch", "transformers", "transformer-lens", "tokenizers", "safetensors"}
    assert "torch" in packages(*extras_of("build-gpu"))


def test_images_are_installed_as_the_tests_environment_is() -> None:
    """`make install` and the Dockerfile: the same constraints, the same extras, the same torch, first."""
    makefile = (ROOT / "Makefile").read_text()
    torch = re.search(r"(?m)^TORCH \?= (\S+)", makefile)
    assert torch is not None
    installed = re.search(r"install -q -c constraints\.txt -e '\.\[([\w,]+)\]'", makefile)
    assert installed is not None
    for stage, pinned in (("build-gpu", torch[1]), ("build-cpu", f"{torch[1]}+cpu")):
        lines = dockerfile_targets()[stage]
        assert f"ARG TORCH={pinned}\n" in lines
        assert extras_of(stage) == set(installed[1].split(","))
        assert lines.index('"${TORCH}"') < lines.index("'.[service,models")
    assert extras_of("build-lean") == set(installed[1].split(",")) - {"models"}
    for stage in ("build-lean", "build-gpu", "build-cpu"):
        assert all("-c constraints.txt" in command for command in re.findall(r"pip install [^&\n]*", dockerfile_targets()[stage]))


@pytest.mark.parametrize("stage", ["build-gpu", "build-cpu"])
def test_a_change_of_ours_does_not_fetch_torch_again(stage: str) -> None:
    lines = dockerfile_targets()[stage]
    assert lines.index('"${TORCH}"') < lines.index("COPY --from=source /src ./")
    assert re.findall(r"(?m)^COPY (.*)", lines[: lines.index('"${TORCH}"')]) == ["constraints.txt ./"]


def test_an_installed_package_lacks_no_file() -> None:
    """Images hold an installed wheel, not this folder: every module is in a package, every other file is named as package data."""
    data = project()["tool"]["setuptools"]["package-data"]
    for top in ("api", "interp", "workers", "migrations"):
        for path in (ROOT / top).rglob("*"):
            if not path.is_file() or "__pycache__" in path.parts:
                continue
            package = path.parent.relative_to(ROOT)
            if path.suffix == ".py":
                assert (path.parent / "__init__.py").exists(), f"{path} is in no package"
            else:
                owners = [owner for owner in data if str(package).replace("/", ".").startswith(owner)]
                names = [(path.relative_to(ROOT / owner.replace(".", "/")), pattern) for owner in owners for pattern in data[owner]]
                assert any(fnmatch.fnmatch(str(name), pattern) for name, pattern in names), f"{path} is no package data"


def test_what_an_image_copies_is_sent_to_the_engine() -> None:
    ignored = (ROOT / ".dockerignore").read_text().split()
    for words in re.findall(r"(?m)^COPY (?!--from)(.*)", (ROOT / "Dockerfile").read_text()):
        for source in words.split()[:-1]:
            assert (ROOT / source).exists()
            assert source not in ignored


def extras_of(stage: str) -> set[str]:
    found = re.search(r"'\.\[([\w,]+)\]'", dockerfile_targets()[stage])
    assert found is not None
    return set(found[1].split(","))

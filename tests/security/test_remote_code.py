"""Code in a model's folder is never run, whoever asks a library to open it."""

import ast
import json
import shutil
from pathlib import Path

import pytest

from interp.domain.errors import GlossatorError
from interp.domain.spec import JobSpec
from interp.planning.preflight import check
from interp.subject.base import open_subject

ROOT = Path(__file__).parents[2]
CODE = "import pathlib\npathlib.Path({marker!r}).touch()\nclass Evil: pass\n"


@pytest.fixture
def marker(tmp_path: Path) -> Path:
    """The file that the folder's code would make."""
    return tmp_path / "ran"


@pytest.fixture
def spec(tiny_job: JobSpec, tmp_path: Path, marker: Path) -> JobSpec:
    """The tiny job, whose subject's config, model and tokenizer name code of its folder."""
    folder = shutil.copytree(tiny_job.subject.model, tmp_path / "subject")
    (folder / "evil.py").write_text(CODE.format(marker=str(marker)))
    kinds = {"AutoConfig": "evil.Evil", "AutoModelForCausalLM": "evil.Evil", "AutoTokenizer": ["evil.Evil", "evil.Evil"]}
    for name in ("config.json", "tokenizer_config.json"):
        content = json.loads((folder / name).read_text())
        (folder / name).write_text(json.dumps(content | {"auto_map": kinds}))
    return tiny_job.model_copy(update={"subject": tiny_job.subject.model_copy(update={"model": str(folder)})})


@pytest.mark.parametrize("backend", ["huggingface", "bridge"])
def test_code_of_a_subjects_folder_is_not_run(spec: JobSpec, marker: Path, backend: str) -> None:
    subject = spec.subject.model_copy(update={"backend": backend})
    check(spec.model_copy(update={"subject": subject}))
    open_subject(subject, "blocks.1.hook_resid_pre")
    assert not marker.exists()


def test_a_model_that_needs_its_own_code_is_refused(spec: JobSpec, marker: Path) -> None:
    config = Path(spec.subject.model) / "config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"model_type": "evil", "architectures": ["Evil"]}))
    with pytest.raises(GlossatorError):
        open_subject(spec.subject, "blocks.1.hook_resid_pre")
    assert not marker.exists()


def test_every_call_that_could_run_foreign_code_says_that_it_may_not() -> None:
    calls = 0
    for path in (file for folder in ("api", "interp", "workers", "glossator") for file in (ROOT / folder).rglob("*.py")):
        source = path.read_text()
        assert "trust_remote_code=True" not in source and '"trust_remote_code": True' not in source, path
        for node in ast.walk(ast.parse(source)) if "from_pretrained" in source else ():
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "from_pretrained":
                named = {keyword.arg for keyword in node.keywords}
                # `**options` are looked at by eye: the text above has them.
                assert "trust_remote_code" in named or (None in named and '"trust_remote_code": False' in source), f"{path}:{node.lineno}"
                calls += 1
    assert calls >= 3

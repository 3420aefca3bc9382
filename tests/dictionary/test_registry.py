"""Names of published dictionaries, from a table in sae-lens's form."""

import json
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from api.cli import app
from api.jobs.paths import located
from benches import tiny
from interp.dictionary import registry, sources
from interp.dictionary.formats import dictionary_digest, read
from interp.domain.errors import DictionaryError, FileMissingError, PathRefusedError
from interp.domain.spec import CorpusSpec, DictionarySpec, JobSpec, SubjectSpec
from interp.security.allowed_files import Roots
from tests.dictionary import known


@pytest.fixture
def table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.syspath_prepend(str(known.write(tmp_path / "packages")))
    registry.table.cache_clear()
    yield
    registry.table.cache_clear()


@pytest.mark.usefixtures("table")
@pytest.mark.parametrize(
    "name",
    [
        "saelens:tiny-res/blocks.1.hook_resid_pre",
        "tiny/1-res-jb",
        "https://www.neuronpedia.org/tiny/1-res-jb",
        "https://neuronpedia.org/tiny/1-res-jb/123",
    ],
)
def test_a_name_becomes_its_place_on_the_hub(name: str) -> None:
    assert sources.resolve(DictionarySpec(source=name)) == DictionarySpec(source="hf://org/sae/layer")


@pytest.mark.usefixtures("table")
def test_the_table_says_what_files_do_not() -> None:
    scaled = sources.resolve(DictionarySpec(source="saelens:tiny-res/blocks.0.hook_resid_pre"))
    assert (scaled.source, scaled.norm_scaling_factor) == ("hf://org/sae/scaled", 0.5)
    openai = sources.resolve(DictionarySpec(source="tiny/0-res-oai"))
    assert (openai.source, openai.hook_point) == ("hf://org/sae/v5_layer_0.pt", "blocks.0.hook_resid_post")
    layer = sources.resolve(DictionarySpec(source="saelens:across-layers/layer_3"))
    assert (layer.source, layer.format) == ("hf://org/clt/W_enc_3.safetensors", "cross_layer_transcoder")
    chosen = sources.resolve(DictionarySpec(source="tiny/0-res-oai", hook_point="blocks.1.hook_resid_pre"))
    assert chosen.hook_point == "blocks.1.hook_resid_pre"


@pytest.mark.usefixtures("table")
@pytest.mark.parametrize(
    ("name", "listed"),
    [("tiny/9-res-jb", "tiny/1-res-jb"), ("saelens:tiny-res/nothing", "blocks.0.hook_resid_pre"), ("saelens:none/x", "no such name")],
)
def test_an_unknown_name_lists_its_neighbours(name: str, listed: str) -> None:
    with pytest.raises(FileMissingError) as raised:
        sources.resolve(DictionarySpec(source=name))
    assert listed in raised.value.why
    assert "glossator dictionaries --known" in raised.value.cure


@pytest.mark.skipif(find_spec("sae_lens") is None, reason="sae-lens is not installed (it is in the extra dev)")
@pytest.mark.parametrize("name", ["gpt2-small/8-res-jb", "saelens:gpt2-small-res-jb/blocks.8.hook_resid_pre"])
def test_the_installed_table_knows_published_names(name: str) -> None:
    registry.table.cache_clear()
    assert sources.resolve(DictionarySpec(source=name)).source == "hf://jbloom/GPT2-Small-SAEs-Reformatted/blocks.8.hook_resid_pre"


@pytest.mark.parametrize("content", [None, "a: [", "tiny-res: {saes: 3}"])
def test_without_a_table_the_error_says_how_to_install_it(content: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if content is None:
        monkeypatch.setattr(registry, "find_spec", lambda _name: None)
    else:
        monkeypatch.syspath_prepend(str(known.write(tmp_path, content)))
    registry.table.cache_clear()
    with pytest.raises(DictionaryError) as raised:
        sources.resolve(DictionarySpec(source="gpt2-small/8-res-jb"))
    assert "pip install 'glossator[registry]'" in raised.value.cure if content is None else "sae-lens" in raised.value.cure


@pytest.mark.usefixtures("table")
def test_a_name_never_becomes_a_path_and_a_path_never_a_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root, outside = tmp_path / "root", tmp_path / "outside"
    (root / "dictionary").mkdir(parents=True)
    outside.mkdir()
    monkeypatch.chdir(outside)
    job = JobSpec(subject=SubjectSpec(model="org/model"), dictionary=DictionarySpec(source="x"), corpus=CorpusSpec(path=str(root)))

    def source_of(text: str, *allowed: Path) -> str:
        changed = job.model_copy(update={"dictionary": DictionarySpec(source=text)})
        return located(changed, outside, Roots((str(root), *map(str, allowed)))).dictionary.source

    assert source_of("tiny/1-res-jb") == "hf://org/sae/layer"
    assert source_of("hf://org/sae") == "hf://org/sae"
    assert source_of(f"file://{root}/dictionary") == str(root / "dictionary")
    for there in ("file:///etc/passwd", "file://../secret", "/etc/passwd", "missing/folder"):
        with pytest.raises(PathRefusedError):
            source_of(there)
    (outside / "tiny/1-res-jb").mkdir(parents=True)
    with pytest.raises(PathRefusedError):
        source_of("tiny/1-res-jb")
    assert source_of("tiny/1-res-jb", outside) == str(outside / "tiny/1-res-jb")


@pytest.mark.usefixtures("table")
def test_known_names_are_searched_offline() -> None:
    shown = CliRunner().invoke(app, ["dictionaries", "--known", "RES tiny"])
    assert shown.exit_code == 0, shown.output
    assert "tiny/1-res-jb" in shown.output
    assert "saelens:tiny-res/blocks.0.hook_resid_pre" in shown.output
    assert "layer_7" not in shown.output
    [found] = json.loads(CliRunner().invoke(app, ["dictionaries", "--known", "layer_7", "--json"]).stdout)
    assert (found["source"], found["model"], found["hook_point"]) == ("saelens:other-release/layer_7/width_16k", "another", None)
    assert sources.resolve(DictionarySpec(source=found["source"])).source == "hf://org/others/layer_7/width_16k"


def test_the_factor_of_the_table_scales_the_inputs(tmp_path: Path) -> None:
    tiny.write_dictionary(tmp_path, tiny.WIDTH, tiny.FEATURES)
    plain = read(DictionarySpec(source=str(tmp_path))).canonical()
    config = json.loads((tmp_path / "cfg.json").read_text()) | {"normalize_activations": "expected_average_only_in"}
    (tmp_path / "cfg.json").write_text(json.dumps(config))
    with pytest.raises(DictionaryError) as raised:
        read(DictionarySpec(source=str(tmp_path)))
    assert "norm_scaling_factor" in raised.value.cure
    given = DictionarySpec(source=str(tmp_path), norm_scaling_factor=0.5)
    scaled = read(given).canonical()
    np.testing.assert_array_equal(scaled.W_enc, 0.5 * plain.W_enc)
    np.testing.assert_array_equal(scaled.W_dec, 2 * plain.W_dec)
    assert dictionary_digest(given) != dictionary_digest(given.model_copy(update={"norm_scaling_factor": 0.25}))

"""A table of published dictionaries in sae-lens's form, for tests."""

from pathlib import Path

TABLE = """
tiny-res:
  conversion_func: null
  model: tiny
  repo_id: org/sae
  saes:
  - {id: blocks.1.hook_resid_pre, path: layer, neuronpedia: tiny/1-res-jb, l0: 3.0}
  - {id: blocks.0.hook_resid_pre, path: scaled, norm_scaling_factor: 0.5}
  - {id: blocks.0.hook_resid_post, path: v5_layer_0.pt, neuronpedia: tiny/0-res-oai}
across-layers:
  model: tiny
  repo_id: org/clt
  saes:
  - {id: layer_3, path: 3}
other-release:
  model: another
  repo_id: org/others
  saes:
  - {id: layer_7/width_16k, path: layer_7/width_16k}
"""


def write(folder: Path, table: str = TABLE) -> Path:
    """Write the package's folder with its table; return the folder to put on sys.path."""
    (folder / "sae_lens").mkdir(parents=True)
    (folder / "sae_lens" / "__init__.py").touch()  # without it the installed package would be found first
    (folder / "sae_lens" / "pretrained_saes.yaml").write_text(table)
    return folder

"""Files that the installed sae-lens and sparsify write: the cases of tests/dictionary/golden, with new weights."""

import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.dictionary.library_cases import check

LIBRARIES = [name for name in ("sae_lens", "sparsify") if find_spec(name)]
PROGRAM = "import sys; from pathlib import Path; from tests.dictionary.generate_golden import write; write(Path(sys.argv[1]), 1, sys.argv[2:])"


@pytest.mark.skipif(len(LIBRARIES) < 2, reason="sae-lens and eai-sparsify are not installed (they are in the extra dev)")
def test_what_the_installed_libraries_write_gives_their_own_features(tmp_path: Path) -> None:
    """In a process of its own: the libraries import much that no other test needs."""
    subprocess.run([sys.executable, "-c", PROGRAM, str(tmp_path / "cases"), *LIBRARIES], check=True, timeout=170)
    cases = sorted((tmp_path / "cases").iterdir())
    assert len(cases) > 20
    for folder in cases:
        check(folder)

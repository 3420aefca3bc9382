"""The batch script of a job and its judge in one allocation: real commands, and a scripted runner in place of `vllm`."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from sqlalchemy import select

from interp.domain.spec import JobSpec
from interp.store.db.engine import make_engine, snapshot
from interp.store.db.tables import JobRow, LlmBatchRow, LlmCallRow

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "deploy" / "slurm" / "judge.sbatch"

pytestmark = pytest.mark.timeout(600)


def test_the_script_runs_a_job_whose_judge_has_no_server(tmp_path: Path, tiny_job: JobSpec) -> None:
    judged = {
        "features": "0-3",
        "explainers": ["pattern"],
        "scorers": [{"name": "detection", "positives": 4, "negatives": 4, "per_prompt": 4, "judge": "llm"}],
        "models": {"judge": {"model": "scripted-judge", "transport": "files"}},
    }
    file, home, programs = tmp_path / "job.yaml", tmp_path / "home", tmp_path / "bin"
    file.write_text(yaml.safe_dump(tiny_job.model_dump(mode="json", exclude_defaults=True) | judged), encoding="utf-8")
    programs.mkdir()
    for name, text in {
        "glossator": f"exec {sys.executable} -c 'from api.cli import main; main()' \"$@\"",
        "vllm": f'[ "$1" = run-batch ] || exit 9\nshift\nexec {sys.executable} -m tests.fakes.batch_runner "$@"',
        "scontrol": "exit 9",
    }.items():
        (programs / name).write_text(f"#!/bin/bash\n{text}\n", encoding="utf-8")
        (programs / name).chmod(0o755)
    own = {
        "PATH": f"{programs}:{os.environ['PATH']}",
        "GLOSSATOR_HOME": str(home),
        "GLOSSATOR_LLM_WORKERS": "1",
        "GLOSSATOR_LLM_BATCH_POLL_INTERVAL_SECONDS": "0.2",
        "GLOSSATOR_PORT": "1",
        "SLURM_SUBMIT_DIR": str(tmp_path),
        "SLURM_JOB_ID": "8",
        "ROUND_SECONDS": "1",
    }
    command = ["bash", str(SCRIPT), str(file), "scripted-judge"]
    done = subprocess.run(command, cwd=ROOT, env=os.environ | own, capture_output=True, text=True, timeout=500, check=False)
    assert done.returncode == 0, done.stderr
    assert "Its models are asked by files" in done.stderr
    engine = make_engine(f"sqlite:///{home}/glossator.db")
    with snapshot(engine) as session:
        assert session.scalars(select(JobRow.status)).all() == ["completed"]
        answered = session.scalars(select(LlmCallRow.transport)).all()
        ended = session.scalars(select(LlmBatchRow.ended_at)).all()
    engine.dispose()
    assert answered
    assert set(answered) == {"files"}
    assert ended
    assert None not in ended
    assert not list(home.glob("batches-*")), "the exported files are gone"

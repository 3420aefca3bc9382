"""The batch script, run by bash with commands of its own in place of Slurm's and ours."""

import os
import signal
import subprocess
from pathlib import Path

import pytest

from tests.deploy.house import ROOT, parse_command
from tests.workers.test_supervisor import until

SCRIPT, JUDGE = (ROOT / "deploy" / "slurm" / name for name in ("glossator.sbatch", "judge.sbatch"))


def program(folder: Path, name: str, text: str) -> None:
    path = folder / name
    path.write_text(f"#!/bin/bash\n{text}\n", encoding="utf-8")
    path.chmod(0o755)


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    program(tmp_path, "scontrol", f'echo "$@" > {tmp_path}/requeued')
    slurm = {
        "SLURM_SUBMIT_DIR": str(tmp_path),
        "SLURM_CPUS_PER_TASK": "2",
        "SLURM_JOB_ID": "8",
        "SLURM_ARRAY_JOB_ID": "7",
        "SLURM_ARRAY_TASK_ID": "3",
    }
    return {"PATH": f"{tmp_path}:{os.environ['PATH']}", "GLOSSATOR_DATABASE_URL": "postgresql://db/x", **slurm}


def test_a_task_that_is_stopped_is_queued_again(environment: dict[str, str], tmp_path: Path) -> None:
    program(tmp_path, "glossator", f"trap 'exit 75' USR1; echo \"$@\" > {tmp_path}/asked; while :; do sleep 0.05; done")
    task = subprocess.Popen(["bash", str(SCRIPT), "job.yaml"], env=environment)
    until(lambda: (tmp_path / "asked").exists(), "the command")
    task.send_signal(signal.SIGUSR1)
    assert task.wait(60) == 75
    assert (tmp_path / "requeued").read_text(encoding="utf-8").split() == ["requeue", "7_3"]


@pytest.mark.parametrize("status", [0, 1, 2])
def test_other_ends_are_ends(environment: dict[str, str], tmp_path: Path, status: int) -> None:
    program(tmp_path, "glossator", f'echo "$@" > {tmp_path}/asked; exit {status}')
    done = subprocess.run(["bash", str(SCRIPT), "job.yaml"], env=environment, timeout=60, check=False)
    assert done.returncode == status
    assert not (tmp_path / "requeued").exists()
    parse_command(["glossator", *(tmp_path / "asked").read_text(encoding="utf-8").split()])


def waiting_job(folder: Path) -> None:
    """A `glossator` whose job waits for results, and is stopped by a signal."""
    program(
        folder,
        "glossator",
        f"""echo "$@" >> {folder}/asked
case "$1 $2" in
  "run job.yaml") trap 'exit 75' USR1; until [ -e {folder}/imported ]; do sleep 0.05; done ;;
  "batches export") mkdir -p "${{@: -1}}"; echo '{{}}' > "${{@: -1}}/a.jsonl"; echo '{{}}' > "${{@: -1}}/b.jsonl" ;;
  "batches import") cp "$3" {folder}/imported ;;
esac""",
    )


def judged(environment: dict[str, str]) -> subprocess.Popen[bytes]:
    return subprocess.Popen(["bash", str(JUDGE), "job.yaml", "org/model"], env=environment | {"ROUND_SECONDS": "0.05"}, stderr=subprocess.PIPE)


def test_a_judge_answers_all_batches_in_one_run(environment: dict[str, str], tmp_path: Path) -> None:
    waiting_job(tmp_path)
    program(tmp_path, "vllm", f'echo "$@" >> {tmp_path}/run; cp "$3" "$5"')
    assert judged(environment).wait(60) == 0
    assert (tmp_path / "imported").read_text(encoding="utf-8").splitlines() == ["{}", "{}"]
    run = (tmp_path / "run").read_text(encoding="utf-8").splitlines()
    folder = f"{tmp_path}/.glossator/batches-8"
    assert run == [f"run-batch -i {folder}/all -o {folder}/all.results.jsonl --model org/model"]
    for line in (tmp_path / "asked").read_text(encoding="utf-8").splitlines():
        parse_command(["glossator", *line.split()])


def test_a_judge_that_is_stopped_is_queued_again(environment: dict[str, str], tmp_path: Path) -> None:
    waiting_job(tmp_path)
    program(tmp_path, "vllm", f"touch {tmp_path}/run; exec sleep 60")
    task = judged(environment)
    until(lambda: (tmp_path / "run").exists(), "the runner")
    task.send_signal(signal.SIGUSR1)
    assert task.wait(60) == 75
    assert (tmp_path / "requeued").read_text(encoding="utf-8").split() == ["requeue", "8"]
    assert not (tmp_path / "imported").exists()


def test_a_judge_that_always_fails_spends_no_allocation(environment: dict[str, str], tmp_path: Path) -> None:
    waiting_job(tmp_path)
    program(tmp_path, "vllm", f"echo x >> {tmp_path}/run; exit 3")
    task = judged(environment)
    _, said = task.communicate(timeout=60)
    assert task.returncode == 1
    assert b"failed 3 times" in said
    assert (tmp_path / "run").read_text(encoding="utf-8").count("x") == 3
    assert not (tmp_path / "requeued").exists()


def test_a_task_without_a_shared_database_says_so(environment: dict[str, str]) -> None:
    del environment["GLOSSATOR_DATABASE_URL"]
    done = subprocess.run(["bash", str(SCRIPT), "job.yaml"], env=environment, timeout=60, check=False, capture_output=True, text=True)
    assert done.returncode != 0
    assert "PostgreSQL" in done.stderr

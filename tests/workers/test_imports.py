"""torch and transformer_lens cost seconds and half a gigabyte: only gpu workers load them. scipy's larger packages cost a second each process."""

import subprocess
import sys

from interp.domain.spec import JobSpec

HEAVY = ("torch", "transformer_lens", "transformers", "scipy.stats", "scipy.optimize", "scipy.spatial")


PROCESSES = {
    "supervisor": "workers.supervisor, workers.wakeup, interp.planning.preflight",
    "llm worker": "workers.tasks.explain, workers.tasks.score, workers.tasks.summarise, workers.process",
    "api": "api.app",
}


def test_no_torch() -> None:
    """One process imports all, one after another: what any of them loads is there at the end, and is first seen after its own line."""
    looks = [f"import {modules}; print({name!r}, [name for name in {HEAVY!r} if name in sys.modules])" for name, modules in PROCESSES.items()]
    done = subprocess.run([sys.executable, "-c", "\n".join(["import sys", *looks])], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [f"{name} []" for name in PROCESSES]


def test_transformers_is_loaded_without_a_whole_garbage_collection(tiny_job: JobSpec) -> None:
    """Each walks over all that PyTorch and transformers have made so far: together most of a second of a gpu worker's start."""
    code = (
        "import gc, sys; from interp.domain.spec import JobSpec; from interp.observability.import_time import without_collecting\n"
        "with without_collecting():\n    import workers.tasks.collect\n"
        "from interp.subject.text.library import library_bos\n"
        "spec = JobSpec.model_validate_json(sys.stdin.read())\n"
        "whole = []; gc.callbacks.append(lambda phase, info: whole.append(phase) if info['generation'] == 2 else None)\n"
        "library_bos(spec.subject); print(len(whole), gc.isenabled(), 'transformers' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], input=tiny_job.model_dump_json(), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["0", "True", "True"]

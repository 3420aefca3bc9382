"""One mutant: a job with one file changed goes through submission and what a worker does first; what came of it, and at what cost."""

import random
import time
from dataclasses import dataclass, replace
from pathlib import Path

from interp.dictionary import formats
from interp.domain.errors import GlossatorError, InputError
from interp.planning import preflight
from interp.subject.location import read_config, read_subject_bytes
from interp.subject.shape import ModelShape
from interp.subject.text.tokenizer import read_tokenizer, vocabulary_of
from interp.subject.text.tokenizer_file import guarded, open_backend
from tests.security.memory import peak
from tests.security.mutants import Case, mutant

MOST_MIB, MOST_SECONDS = 500, 5


@dataclass(frozen=True)
class Outcome:
    """What became of a mutant. `fault` says what must not be: another error than a refusal, or too much time or memory."""

    accepted: bool
    seconds: float
    mib: float
    fault: str = ""


def attempt(case: Case, chance: random.Random) -> Outcome:
    """Changes one of the job's files, runs the job's first steps, and puts the file back."""
    path = chance.choice(sorted(case.files))
    path.write_bytes(mutant(case.files[path], path.name, chance))
    try:
        return _judged(_measured(case), path)
    finally:
        path.write_bytes(case.files[path])


def _measured(case: Case) -> Outcome:
    fault, accepted = "", False
    begun = time.process_time()
    with peak() as seen:
        try:
            preflight.check(case.job)
            begin(case)
            accepted = True
        except InputError as refused:
            fault = "" if refused.cure and len(str(refused)) < 4000 else f"a refusal without a cure, or too long: {str(refused)[:200]}"
        except GlossatorError as error:
            fault = f"{error.code}: {error.what[:200]}"
        except Exception as error:
            fault = f"{type(error).__name__}: {str(error)[:200]}"
    return Outcome(accepted, time.process_time() - begun, seen.mib, fault)


def begin(case: Case) -> None:
    """What a worker does before it opens the model: converts the weights, opens the tokenizer and encodes."""
    formats.read(case.job.dictionary).canonical()
    file = read_tokenizer(case.job.subject)
    shape = ModelShape.from_config(read_config(case.job.subject))
    vocabulary_of(file, file.special(), shape.vocabulary)
    backend = open_backend(read_subject_bytes(case.job.subject, "tokenizer.json"))
    with guarded("It cannot encode."):
        backend.encode_batch_fast(["Some text, <s> naïve 🙂\n"], add_special_tokens=False)


def _judged(outcome: Outcome, path: Path) -> Outcome:
    fault = outcome.fault
    if outcome.mib > MOST_MIB:
        fault = fault or f"{outcome.mib:.0f} MiB"
    if outcome.seconds > MOST_SECONDS:
        fault = fault or f"{outcome.seconds:.1f} s"
    return replace(outcome, fault=f"{path.parent.name}/{path.name}: {fault}" if fault else "")

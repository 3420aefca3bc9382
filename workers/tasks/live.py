"""Answer live requests with the models of a run, which stay open."""

import time
from collections import OrderedDict
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, assert_never, cast

import numpy as np
from numpy.typing import NDArray
from pydantic import TypeAdapter

from interp.collect.live.activations import Ranked, TextActivations, activations
from interp.collect.live.reading import TextReader
from interp.collect.live.steering import steer
from interp.config.settings import Settings
from interp.dictionary.module import Dictionary
from interp.domain.errors import InputError
from interp.domain.live import ActivationsWork, LiveWork, SteerWork
from interp.domain.spec import CollectionSpec, JobSpec
from interp.planning.fingerprint import models_identity, models_key
from interp.security import allowed_files, uploads
from interp.security.allowed_files import Roots
from interp.store.db.engine import snapshot
from interp.store.queue import live
from interp.store.queue.live import LiveLease, LiveUnavailableError
from interp.store.results import runs
from interp.subject.base import Subject
from interp.subject.loaded import OpenedSubject
from workers.runtime import Runtime
from workers.tasks.firing_levels import THRESHOLD
from workers.tasks.model_cache import ModelCache, NoRoomError, model_cache_of
from workers.uploads import bring

Json = dict[str, Any]
WORK: TypeAdapter[ActivationsWork | SteerWork] = TypeAdapter(LiveWork)


@dataclass(frozen=True)
class OpenRun:
    """A run's models, as its collection used them, and what has read texts with them."""

    subject: Subject
    dictionary: Dictionary
    spec: CollectionSpec
    reader: TextReader
    keys: tuple[Hashable, Hashable]

    @property
    def opened(self) -> OpenedSubject:
        """Return the subject with what both backends have."""
        return cast(OpenedSubject, self.subject)


def answer(runtime: Runtime, lease: LiveLease, opened: Callable[[], object], between: Callable[[], object]) -> Json:
    """Return the reply of a request, JSON; raises errors of opening and of input, LiveUnavailableError."""
    work = WORK.validate_python(lease.work)
    began = time.monotonic()
    run = open_runs_of(runtime.settings).open(runtime, lease, between)
    opening = round(time.monotonic() - began, 4)
    opened()
    if run.opened.is_concurrent:
        found = _answer(run, work, between)
    else:
        with runtime.turns.alone(between):
            found = _answer(run, work, between)
    return found | {"opening_seconds": opening}


def _answer(run: OpenRun, work: ActivationsWork | SteerWork, between: Callable[[], object]) -> Json:
    match work:
        case ActivationsWork():
            found = activations(run.subject, run.dictionary, run.spec, run.reader, work, between)
            groups = {"texts": found.texts, "against": found.against}
            ranked = {"top": _ranked(found.top), "differences": _ranked(found.differences)}
            return {name: [_text(text) for text in texts] for name, texts in groups.items()} | ranked | {"exact": found.is_exact}
        case SteerWork():
            steered = steer(run.opened, run.dictionary, work, between)
            pairs = [{"seed": one.seed, "plain": list(one.plain), "steered": list(one.steered)} for one in steered.continuations]
            return {"prompt": list(steered.prompt), "continuations": pairs}
        case _:
            assert_never(work)


class OpenRuns:
    """Models of the runs that live requests asked for last, at most `live_models` of them."""

    def __init__(self, cache: ModelCache, most: int) -> None:
        self._cache, self._most = cache, most
        self._runs: OrderedDict[int, OpenRun] = OrderedDict()
        # A model that goes for a job's sake is held here no longer.
        cache.lru.on_evict = self._forget

    def open(self, runtime: Runtime, lease: LiveLease, between: Callable[[], object]) -> OpenRun:
        """Return a run's models, open already or opened now.

        Raises what opening raises, InputError for a run without models, LiveUnavailableError where there is no room beside a job.
        """
        with self._cache.lock:
            found = self._runs.get(lease.run_id)
            if found is None:
                found = self._runs[lease.run_id] = self._open(runtime, lease, between)
            self._runs.move_to_end(lease.run_id)
            while len(self._runs) > self._most:
                _, old = self._runs.popitem(last=False)
                self._cache.close([key for key in old.keys if all(key not in run.keys for run in self._runs.values())], runtime)
            return found

    def _open(self, runtime: Runtime, lease: LiveLease, between: Callable[[], object]) -> OpenRun:
        with snapshot(runtime.engine) as session:
            stored, facts = live.models_of(session, lease.run_id), runs.facts_of(session, lease.run_id)
        if stored is None:
            raise InputError("The run has no job that says which models it is of.", cure="Submit a job on the dictionary.")
        job = JobSpec.model_validate(stored.spec)
        with allowed_files.within(Roots.of(runtime.settings)):
            bring(runtime.engine, runtime.settings, uploads.named_in(job), between)
            if models_key(models_identity(job.each[stored.place])) != lease.models_key:
                raise InputError(
                    "The files of the model or the dictionary are not those of the run any more.",
                    why="They were changed or replaced since it was collected.",
                    cure="Submit a job on the files as they are now.",
                )
            try:
                models = self._cache.open_beside(runtime, job, stored.place)
            except NoRoomError as error:
                raise LiveUnavailableError(
                    "The models do not fit beside the job in work.", why=str(error), cure="Try again when it is done."
                ) from error
        subject, dictionary = models.subject, models.dictionary
        if dictionary.batch_k is not None:
            dictionary = dictionary.with_threshold(facts[THRESHOLD])
        dictionary = dictionary.to(subject.device)
        spec = job.collection if stored.batch_tokens is None else job.collection.in_batches_of(stored.batch_tokens)
        return OpenRun(subject, dictionary, spec, TextReader(subject, spec, dictionary.positions), models.keys)

    def _forget(self, key: Hashable) -> None:
        for run_id in [run_id for run_id, run in self._runs.items() if key in run.keys]:
            del self._runs[run_id]


@lru_cache(maxsize=1)
def open_runs_of(settings: Settings) -> OpenRuns:
    return OpenRuns(model_cache_of(settings), settings.live_models)


def _text(text: TextActivations) -> Json:
    return {
        "tokens": text.tokens.tolist(),
        "counted": text.counted.tolist(),
        "rows": list(text.rows),
        "activations": [_exact(row) for row in text.activations],
        "top": _ranked(text.top),
        "per_token": [_ranked(ranked) for ranked in text.per_token],
    }


def _ranked(ranked: Ranked) -> Mapping[str, list[Any]]:
    """Return columns of a ranking."""
    return {
        "features": ranked.features.tolist(),
        "values": _exact(ranked.values),
        "texts": ranked.texts.tolist(),
        "tokens": ranked.tokens.tolist(),
    }


def _exact(values: NDArray[np.float16] | NDArray[np.float32]) -> list[float]:
    """Return the shortest decimals of the same float32 numbers."""
    return [float(str(value)) if value else 0.0 for value in values.astype(np.float32)]

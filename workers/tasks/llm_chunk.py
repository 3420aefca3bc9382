"""Manage an explain or score chunk's features, language models, and multi-pass progress."""

from collections.abc import Coroutine, Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from typing import Any, TypeVar

from interp.domain.errors import InputError
from interp.domain.spec import ExplainerSpec, ModelSpec
from interp.domain.vocabulary import Vocabulary
from interp.explain.endpoint import DictionaryPlace
from interp.llm.base import Model
from interp.llm.call_store import Tag
from interp.llm.label_endpoint import TIMEOUT_SECONDS, LabelEndpoint
from interp.planning.plan import Range
from interp.store.db.engine import Engine, snapshot
from interp.store.results import runs
from workers.llm.call_store import DatabaseCallStore
from workers.llm.event_loop import TaskGroupRunner, Timeouts, client_of, the_loop
from workers.runtime import Work

T = TypeVar("T")

# Features per call without a language model: between two calls progress is reported, and a cancel noticed.
BATCH_FEATURES = 4


class ChunkProgress:
    """Features done of a chunk, where several passes process the same features."""

    def __init__(self, work: Work, passes: int) -> None:
        self._progress, self._passes, self._done = work.progress, max(passes, 1), 0

    def add(self, features: int) -> None:
        """Count features that finished one more pass; raises what `progress` raises."""
        self._done += features
        self._progress(self._done // self._passes)


@contextmanager
def chunk_models(work: Work) -> Iterator["ChunkModels"]:
    """Open the chunk's models, whose answers are all durable at the end, even on error."""
    with work.asking(), DatabaseCallStore(work.runtime.engine, work.lease, work.is_kept) as call_store:
        yield ChunkModels(work, call_store)


class ChunkModels:
    """The language models of one chunk, each bound to a feature and purpose."""

    def __init__(self, work: Work, call_store: DatabaseCallStore) -> None:
        settings = work.runtime.settings
        self._models, self._lease, self._call_store, self._client = work.spec.models, work.lease, call_store, client_of(settings)
        timeouts = [model.timeout_seconds for _, model in work.spec.models if model is not None]
        timeouts += [explainer.timeout_seconds or TIMEOUT_SECONDS for explainer in work.spec.explainers if explainer.url is not None]
        longest = max(timeouts, default=0.0)
        self._timeouts = Timeouts(settings.lease_check_interval_seconds, settings.stop_timeout_seconds / 3, longest)

    def run(self, coroutines: Sequence[Coroutine[Any, Any, T]], progress: ChunkProgress) -> list[T]:
        """Run the coroutines of all features at once, and return results in order.

        The client limits calls in flight. Raises JobPausedError, and what progress raises, once the calls in flight have had their time to end.
        """
        return TaskGroupRunner(coroutines, self._call_store.stop, self._timeouts).run(the_loop(), progress.add)

    def of_role(self, role: str, feature: int, purpose: str) -> Model | None:
        """Return the model of a field of `ModelsSpec`; None where the job names none."""
        spec: ModelSpec | None = getattr(self._models, role)
        tag = Tag(self._lease.job_id, self._lease.chunk_id, self._lease.stage, feature, purpose)
        return None if spec is None else self._client.model(spec, self._call_store, tag)

    def label_endpoint(self, spec: ExplainerSpec, feature: int) -> LabelEndpoint:
        """Return the endpoint of an explainer that posts evidence to a URL."""
        tag = Tag(self._lease.job_id, self._lease.chunk_id, self._lease.stage, feature, spec.name)
        return self._client.label_endpoint(spec, self._call_store, tag)

    def required(self, role: str, feature: int, purpose: str) -> Model:
        """Return the model of a role, or raise InputError where the job names none."""
        model = self.of_role(role, feature, purpose)
        if model is None:
            raise InputError(
                f"{purpose} asks a language model.", why=f"The job names no models.{role}.", cure="Name one, or leave it out.", role=role
            )
        return model


@lru_cache(maxsize=8)
def vocabulary_of(engine: Engine, run_id: int) -> Vocabulary:
    """Return the vocabulary of a run's tokens."""
    with snapshot(engine) as session:
        return runs.vocabulary_of(session, run_id)


@lru_cache(maxsize=8)
def place_of(engine: Engine, run_id: int) -> DictionaryPlace:
    """Return the names of a run's dictionary and of the place that it reads."""
    with snapshot(engine) as session:
        return runs.place_of(session, run_id)


def ranges_of_chunk(work: Work) -> list[Range]:
    return [(start, stop) for start, stop in work.lease.payload["features"]]

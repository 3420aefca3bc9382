"""Keep models open between chunks, within the memory that the worker may use."""

import threading
from collections import OrderedDict
from collections.abc import Callable, Collection, Hashable, Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import TYPE_CHECKING, Any, TypeVar

from interp.collect.memory import Extent
from interp.config.settings import Settings
from interp.dictionary.formats import dictionary_digest, header_of
from interp.dictionary.module import Dictionary, open_dictionary
from interp.domain.errors import WidthMismatchError
from interp.domain.spec import DictionarySpec, JobSpec, SubjectSpec
from interp.planning.fingerprint import models_identity, models_key
from interp.subject import hooks
from interp.subject.base import Subject, open_subject
from interp.subject.gguf.folder import convert_once, is_gguf
from interp.subject.loaded import device_memory, device_name, give_back_memory
from interp.subject.location import read_config, subject_digest, subject_name
from interp.subject.shape import ModelShape
from workers.machine import memory_limit
from workers.runtime import Runtime, Work

if TYPE_CHECKING:
    import torch

Model = TypeVar("Model")


class NoRoomError(Exception):
    """Models that do not fit beside those of the chunk in work, and its evidence."""


# The share of a worker's memory for models and collection; the rest is for the runtime and for what no formula foresees.
USABLE = 0.85
FLOAT = 4


class LruModels:
    """A least-recently-used cache of models, with a capacity; not thread-safe.

    The capacity is shared with the memory that the next work needs.
    """

    def __init__(self, capacity_bytes: int) -> None:
        self.capacity_bytes = capacity_bytes
        self.on_evict: Callable[[Hashable], None] = lambda _key: None
        self._models: OrderedDict[Hashable, tuple[Any, int]] = OrderedDict()

    def get(self, key: Hashable, load: Callable[[], Model], size: Callable[[Model], int], about: int, keep: Collection[Hashable]) -> Model:
        """Return the key's model, loaded after evicting others than `keep` for `about` bytes."""
        if key not in self._models:
            self.evict_for(about, keep)
            made = load()
            self._models[key] = (made, size(made))
        self._models.move_to_end(key)
        model: Model = self._models[key][0]
        return model

    def evict_for(self, needed: int, keep: Collection[Hashable]) -> None:
        """Evict models until `needed` bytes are free, or only those to `keep` are left."""
        others = [key for key in self._models if key not in keep]
        while others and self.used_bytes + needed > self.capacity_bytes:
            self._remove(others.pop(0))
            if not others or self.used_bytes + needed <= self.capacity_bytes:
                give_back_memory()

    def close(self, keys: Collection[Hashable]) -> None:
        """Evict some models."""
        for key in keys:
            if key in self._models:
                self._remove(key)
        give_back_memory()

    def _remove(self, key: Hashable) -> None:
        del self._models[key]
        self.on_evict(key)

    @property
    def used_bytes(self) -> int:
        return sum(size for _, size in self._models.values())

    def __contains__(self, key: Hashable) -> bool:
        return key in self._models


@dataclass(frozen=True)
class Models:
    """A matching subject and dictionary on the subject's device, with their cache `keys`."""

    subject: Subject
    dictionary: Dictionary
    keys: tuple[Hashable, Hashable]

    @property
    def nbytes(self) -> int:
        return self.subject.nbytes + self.dictionary.nbytes

    @property
    def extent(self) -> Extent:
        return Extent(self.dictionary.n_features, self.dictionary.d_in, self.dictionary.k is not None)


@dataclass(frozen=True)
class InWork:
    """Models of the chunk in work, and the bytes that it needs beside."""

    keys: tuple[Hashable, ...] = ()
    needs: int = 0


class ModelCache:
    """A gpu worker's open models, which it reports.

    Chunks and live requests share it under `lock`.
    """

    def __init__(self, capacity_bytes: int) -> None:
        self.lru = LruModels(capacity_bytes)
        self.lock = threading.RLock()
        self.in_work = InWork()
        self._pairs: dict[str, tuple[Hashable, Hashable]] = {}

    def open_beside(self, runtime: Runtime, job: JobSpec, place: int) -> Models:
        """Return models of one dictionary, beside what the chunk in work needs.

        Raises NoRoomError, and as `open`.
        """
        with self.lock:
            return self.open(runtime, job, [place], self.in_work if runtime.leases.all else InWork(), is_strict=True)[0]

    def close(self, keys: Collection[Hashable], runtime: Runtime) -> None:
        """Close models, unless the chunk in work has them."""
        with self.lock:
            kept = self.in_work.keys if runtime.leases.all else ()
            self.lru.close([key for key in keys if key not in kept])
            self._report(runtime)

    def open(self, runtime: Runtime, job: JobSpec, places: Sequence[int], beside: InWork = InWork(), is_strict: bool = False) -> list[Models]:
        """Return models of some of the job's dictionaries, cached if of equal content.

        The subject is opened once, at the hook points of all the job's dictionaries. Models `beside` stay, with the bytes that their work needs;
        `is_strict` raises NoRoomError rather than open what does not fit. Raises opening errors and WidthMismatchError.
        """

        def opening(load: Callable[[], Model], about: int) -> Callable[[], Model]:
            def checked() -> Model:
                if is_strict and self.lru.used_bytes + about + beside.needs > self.lru.capacity_bytes:
                    free = max(0, self.lru.capacity_bytes - self.lru.used_bytes - beside.needs)
                    raise NoRoomError(f"They take about {about / 1e9:.2f} GB, and {free / 1e9:.2f} GB are free.")
                return load()

            return checked

        # At once, unless another machine converted it.
        if is_gguf(job.subject.model):
            convert_once(job.subject.model)
        name, identities = subject_name(job.subject, read_config(job.subject)), [models_identity(one) for one in job.each]
        hook_points = union(identity["hook_point"] for identity in identities)
        subject_key = (job.subject.model_dump_json(), subject_digest(job.subject), hook_points)
        specs = [job.each[place].dictionary for place in places]
        keys = [(spec.model_dump_json(), name, dictionary_digest(spec), job.subject.device) for spec in specs]
        keep = (subject_key, *keys, *beside.keys)
        about = _about(job.subject)
        load_subject = opening(lambda: open_subject(job.subject, hook_points), about)
        subject = self.lru.get(subject_key, load_subject, _bytes, about + beside.needs, keep)
        found = []
        for place, spec, key in zip(places, specs, keys, strict=True):
            header = header_of(spec)
            about = 2 * header.n_features * header.d_in * FLOAT
            load = opening(partial(_load, spec, name, subject.device), about)
            dictionary = self.lru.get(key, load, _bytes, about + beside.needs, keep)
            at = subject if len(job.each) == 1 else subject.at(identities[place]["hook_point"])
            _check_width(at, dictionary)
            self._pairs[models_key(identities[place])] = (subject_key, key)
            found.append(Models(at, dictionary, (subject_key, key)))
        self._report(runtime)
        return found

    def _report(self, runtime: Runtime) -> None:
        self._pairs = {name: pair for name, pair in self._pairs.items() if pair[0] in self.lru and pair[1] in self.lru}
        report_device(runtime)
        runtime.info.loaded_models = tuple(self._pairs)


def models_of(work: Work) -> Models:
    """Open the models of the work's dictionary; raises what opening raises, and WidthMismatchError."""
    return all_models_of(work.runtime, work.job, [work.place])[0]


def all_models_of(runtime: Runtime, job: JobSpec, places: Sequence[int], needs: Callable[[Sequence[Models]], int] = lambda _: 0) -> list[Models]:
    """Open models of some of the job's dictionaries, on one subject.

    The oldest others are evicted for the work's `needs` bytes. Raises what opening raises, and WidthMismatchError.
    """
    cache = model_cache_of(runtime.settings)
    with cache.lock:
        models = cache.open(runtime, job, places)
        cache.in_work = InWork(tuple(key for one in models for key in one.keys), needs(models))
        cache.lru.evict_for(cache.in_work.needs, cache.in_work.keys)
    return models


def union(hook_points: Iterable[str]) -> str:
    """Return all hook points of several dictionaries, each once."""
    return hooks.JOIN.join(dict.fromkeys(name for names in hook_points for name in hooks.points_of(names)))


def _load(spec: DictionarySpec, subject_name: str, device: "torch.device") -> Dictionary:
    return open_dictionary(spec, subject_name).to(device)


def report_device(runtime: Runtime) -> None:
    """Report the compute device, for planning and `glossator doctor`."""
    runtime.info.device, runtime.info.memory_bytes = device_name(), worker_memory(runtime.settings)


def worker_memory(settings: Settings) -> int:
    """Return a gpu worker's bytes: as set, else of its GPU, container or machine."""
    return settings.gpu_worker_memory_bytes or device_memory() or memory_limit()


def usable(memory_bytes: int) -> int:
    """Return the part of a worker's memory that models and collection may take."""
    return int(USABLE * memory_bytes)


@lru_cache(maxsize=1)
def model_cache_of(settings: Settings) -> ModelCache:
    return ModelCache(usable(worker_memory(settings)))


def _bytes(model: Subject | Dictionary) -> int:
    return model.nbytes


def _about(spec: SubjectSpec) -> int:
    """Return the bytes of a transformer's weights by its shape, before they are read."""
    shape = ModelShape.from_config(read_config(spec))
    weights = shape.layers * (4 * shape.d_model**2 + 3 * shape.d_model * shape.d_mlp) + 2 * shape.vocabulary * shape.d_model
    return weights * (FLOAT if spec.dtype == "float32" else FLOAT // 2)


def _check_width(subject: Subject, dictionary: Dictionary) -> None:
    if subject.d_in != dictionary.d_in:
        raise WidthMismatchError(
            f"{dictionary.name} reads {dictionary.d_in} numbers a token, {subject.name} has {subject.d_in} at {subject.hook_point}.",
            cure="Check that the dictionary was trained on this subject, at this hook point.",
            dictionary_width=dictionary.d_in,
            subject_width=subject.d_in,
        )

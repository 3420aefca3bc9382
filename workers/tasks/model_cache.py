"""Keep models open between chunks, within the memory that the worker may use."""

from collections import OrderedDict
from collections.abc import Callable, Collection, Hashable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, TypeVar

from interp.collect.memory import Extent
from interp.config.settings import Settings
from interp.dictionary.formats import dictionary_digest, header_of
from interp.dictionary.module import Dictionary, open_dictionary
from interp.domain.errors import WidthMismatchError
from interp.domain.spec import JobSpec, SubjectSpec
from interp.planning.fingerprint import models_identity, models_key
from interp.subject.base import Subject, open_subject
from interp.subject.loaded import device_memory, device_name, give_back_memory
from interp.subject.location import read_config, subject_digest, subject_name
from interp.subject.shape import ModelShape
from workers.machine import memory_limit
from workers.runtime import Runtime

Model = TypeVar("Model")

# The share of a worker's memory for models and collection; the rest is for the runtime and for what no formula foresees.
USABLE = 0.85
FLOAT = 4


class LruModels:
    """A least-recently-used cache of models, with a capacity; not thread-safe.

    The capacity is shared with the memory that the next work needs.
    """

    def __init__(self, capacity_bytes: int) -> None:
        self.capacity_bytes = capacity_bytes
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
            del self._models[others.pop(0)]
            if not others or self.used_bytes + needed <= self.capacity_bytes:
                give_back_memory()

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


class ModelCache:
    """A gpu worker's open models, which it reports."""

    def __init__(self, capacity_bytes: int) -> None:
        self.lru = LruModels(capacity_bytes)
        self._pairs: dict[str, tuple[Hashable, Hashable]] = {}

    def open(self, runtime: Runtime, spec: JobSpec) -> Models:
        """Return the job's models, cached if of equal content; raises opening errors and WidthMismatchError."""
        model, header, identity = subject_name(spec.subject, read_config(spec.subject)), header_of(spec.dictionary), models_identity(spec)
        keys = (
            (spec.subject.model_dump_json(), subject_digest(spec.subject), identity["hook_point"]),
            (spec.dictionary.model_dump_json(), model, dictionary_digest(spec.dictionary), spec.subject.device),
        )
        subject = self.lru.get(keys[0], lambda: open_subject(spec.subject, header.hook_point), _bytes, _about(spec.subject), keys)
        load = lambda: open_dictionary(spec.dictionary, model).to(subject.device)  # noqa: E731
        dictionary = self.lru.get(keys[1], load, _bytes, 2 * header.n_features * header.d_in * FLOAT, keys)
        _check_width(subject, dictionary)
        self._pairs[models_key(identity)] = keys
        self._pairs = {name: pair for name, pair in self._pairs.items() if pair[0] in self.lru and pair[1] in self.lru}
        report_device(runtime)
        runtime.info.loaded_models = tuple(self._pairs)
        return Models(subject, dictionary, keys)


def models_of(runtime: Runtime, spec: JobSpec, needs: Callable[[Models], int] = lambda _: 0) -> Models:
    """Open the job's models, evicting the oldest others for the work's `needs` bytes.

    Raises what opening raises, and WidthMismatchError.
    """
    cache = model_cache_of(runtime.settings)
    models = cache.open(runtime, spec)
    cache.lru.evict_for(needs(models), models.keys)
    return models


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

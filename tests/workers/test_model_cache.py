"""Which models stay open: as many as fit beside the work, the ones used last."""

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benches import tiny
from interp.config.settings import Settings
from interp.domain.spec import JobSpec
from interp.planning.fingerprint import evidence_id, models_key
from workers.runtime import Runtime
from workers.tasks import model_cache
from workers.tasks.model_cache import USABLE, LruModels, Models, all_models_of, report_device


def loaded(lru: LruModels, name: str, size: int, keep: tuple[str, ...] = ()) -> bool:
    """Whether asking for the model loaded it."""
    loads: list[str] = []
    lru.get(name, lambda: loads.append(name) or name, lambda _: size, size, (name, *keep))
    return bool(loads)


def test_the_model_used_longest_ago_goes_first() -> None:
    lru = LruModels(capacity_bytes=100)
    assert [loaded(lru, name, 40) for name in ("a", "b", "a", "c")] == [True, True, False, True]
    assert "b" not in lru, "a was used after b"
    assert "a" in lru
    assert lru.used_bytes == 80


def test_the_old_one_goes_before_the_new_one_is_loaded() -> None:
    lru = LruModels(capacity_bytes=100)
    loaded(lru, "a", 90)
    seen: list[bool] = []
    lru.get("b", lambda: seen.append("a" in lru) or "b", lambda _: 90, 90, ("b",))
    assert seen == [False]


def test_what_a_job_needs_stays_though_it_is_too_large() -> None:
    lru = LruModels(capacity_bytes=100)
    loaded(lru, "subject", 80, keep=("dictionary",))
    loaded(lru, "dictionary", 80, keep=("subject",))
    assert "subject" in lru
    assert not loaded(lru, "dictionary", 80)


def test_room_for_work_is_made_by_models_of_other_jobs_alone() -> None:
    lru = LruModels(capacity_bytes=100)
    for name in ("a", "b", "mine"):
        loaded(lru, name, 30)
    lru.evict_for(60, keep=("mine",))
    assert ("a" in lru, "b" in lru, "mine" in lru) == (False, False, True)
    lru.evict_for(1000, keep=("mine",))
    assert "mine" in lru


@given(st.lists(st.tuples(st.sampled_from("abcdef"), st.integers(0, 120)), max_size=40))
def test_the_room_is_kept_to_unless_one_model_alone_passes_it(asked: list[tuple[str, int]]) -> None:
    lru, sizes = LruModels(capacity_bytes=100), {name: len(name) * 7 + ord(name) % 50 for name in "abcdef"}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(model_cache, "give_back_memory", lambda: None)  # takes a tenth of a second, and there is nothing to give back
        for name, needed in asked:
            loaded(lru, name, sizes[name])
            lru.evict_for(needed, keep=(name,))
            assert lru.used_bytes + needed <= 100 or lru.used_bytes == sizes[name]


@pytest.fixture
def runtime(tmp_path: Path) -> Runtime:
    model_cache.model_cache_of.cache_clear()
    return Runtime.of(Settings(home=tmp_path))


def test_models_stay_open_for_the_next_chunk_and_that_is_told(runtime: Runtime, tiny_job: JobSpec) -> None:
    report_device(runtime)
    assert runtime.info.memory_bytes
    assert runtime.info.device
    assert runtime.info.loaded_models == ()
    first = all_models_of(runtime, tiny_job, [0])[0]
    again = all_models_of(runtime, tiny_job, [0])[0]
    assert again.subject is first.subject
    assert again.dictionary is first.dictionary
    _, identity = evidence_id(tiny_job)
    assert runtime.info.loaded_models == (models_key(identity),), "as submission writes it on the job"
    assert first.dictionary.nbytes == 4 * (2 * tiny.WIDTH * tiny.FEATURES + tiny.WIDTH + tiny.FEATURES)
    assert first.subject.nbytes == sum(parameter.nbytes for parameter in {*first.subject._model.parameters(), *first.subject._model.buffers()})


def other_dictionary(spec: JobSpec, folder: Path, seed: float) -> JobSpec:
    import numpy as np

    tiny.write_dictionary(folder, tiny.WIDTH, tiny.FEATURES, b_dec=np.full(tiny.WIDTH, seed, dtype=np.float32))
    return spec.model_copy(update={"dictionary": spec.dictionary.model_copy(update={"source": str(folder)})})


def test_dictionaries_share_a_subject_and_go_when_there_is_no_room(tmp_path: Path, tiny_job: JobSpec) -> None:
    others = [other_dictionary(tiny_job, tmp_path / str(number), number) for number in range(2)]
    sizes = all_models_of(Runtime.of(Settings(home=tmp_path)), tiny_job, [0])[0]
    model_cache.model_cache_of.cache_clear()
    room = sizes.nbytes + sizes.dictionary.nbytes + sizes.dictionary.nbytes // 2
    runtime = Runtime.of(Settings(home=tmp_path, gpu_worker_memory_bytes=int(room / USABLE)))
    subjects = [all_models_of(runtime, spec, [0])[0].subject for spec in (tiny_job, *others)]
    assert subjects[0] is subjects[1] is subjects[2]
    keys = [models_key(evidence_id(spec)[1]) for spec in (tiny_job, *others)]
    assert set(runtime.info.loaded_models) == {keys[1], keys[2]}, "two dictionaries fit beside the subject"
    needs: Callable[[Sequence[Models]], int] = lambda models: models[0].dictionary.nbytes  # noqa: E731
    all_models_of(runtime, others[1], [0], needs)
    assert model_cache.model_cache_of(runtime.settings).lru.used_bytes == sizes.nbytes, "work needs what the other one took"

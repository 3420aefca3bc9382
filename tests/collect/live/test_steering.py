"""A steered text is what the subject writes with a direction added, and the other what it writes by itself."""

from collections.abc import Iterator
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from benches import tiny
from interp.collect.live.steering import Steered, steer
from interp.dictionary.canonical import InputNorm
from interp.dictionary.module import Dictionary, open_dictionary
from interp.domain.errors import InputError, SubjectError, WorkInterruptedError
from interp.domain.live import SteerWork
from interp.domain.spec import JobSpec
from interp.subject import splice
from interp.subject.base import open_subject
from interp.subject.loaded import OpenedSubject


@pytest.fixture(scope="module", params=["huggingface", "bridge"])
def subject(request: pytest.FixtureRequest, tiny_job: JobSpec) -> OpenedSubject:
    found = open_subject(tiny_job.subject.model_copy(update={"backend": request.param}), tiny.HOOK_POINT)
    assert isinstance(found, OpenedSubject)
    return found


@pytest.fixture(scope="module")
def dictionary(tiny_job: JobSpec) -> Dictionary:
    return open_dictionary(tiny_job.dictionary)


def run(subject: OpenedSubject, dictionary: Dictionary, **changes: object) -> Steered:
    asked = {"prompt": "def value(self", "feature": 3, "strength": 8.0, "seeds": (0,), "max_new_tokens": 6, "temperature": 0.0} | changes
    return steer(subject, dictionary, SteerWork(**asked), lambda: None)  # type: ignore[arg-type]


def test_greedy_text_is_the_argmax_of_whole_passes(subject: OpenedSubject, dictionary: Dictionary) -> None:
    found = run(subject, dictionary)
    assert subject.bos is not None
    (one,) = found.continuations
    for written, strength in ((one.plain, 0.0), (one.steered, 8.0)):
        ids = [subject.bos, *found.prompt]
        for token in written:
            tokens = torch.tensor([ids])
            values = subject.activations(tokens) + strength * dictionary.W_dec[3]
            where = torch.arange(len(ids))[None] > 0
            logits = splice.replace(subject, tokens, {tiny.HOOK_POINT: values}, where)
            assert int(logits[0, -1].argmax()) == token
            ids.append(token)
    assert one.plain != one.steered
    assert len(one.plain) == 6


def test_no_strength_changes_nothing_and_seeds_decide(subject: OpenedSubject, dictionary: Dictionary) -> None:
    found = run(subject, dictionary, strength=0.0, seeds=(1, 2, 3), temperature=1.0)
    assert [one.seed for one in found.continuations] == [1, 2, 3]
    assert all(one.plain == one.steered for one in found.continuations)
    assert len({one.plain for one in found.continuations}) > 1
    assert run(subject, dictionary, strength=0.0, seeds=(2,), temperature=1.0).continuations[0] == found.continuations[1]


def test_nothing_stays_attached(subject: OpenedSubject, dictionary: Dictionary) -> None:
    tokens = torch.tensor([[0, 5, 6, 7]])
    before = subject.logits(tokens)

    def fail() -> None:
        raise WorkInterruptedError("nobody waits")

    with pytest.raises(WorkInterruptedError):
        steer(subject, dictionary, SteerWork(prompt="x", feature=0, strength=9, seeds=(0,), max_new_tokens=2, temperature=0), fail)
    run(subject, dictionary)
    assert torch.equal(subject.logits(tokens), before)


@pytest.mark.parametrize("prompt", ["self " * 200, "\ufeff" * 100])
def test_a_prompt_that_fills_the_context_is_refused(subject: OpenedSubject, dictionary: Dictionary, prompt: str) -> None:
    with pytest.raises(InputError, match="tokens"):
        run(subject, dictionary, prompt=prompt)


def test_text_ends_where_the_context_does(subject: OpenedSubject, dictionary: Dictionary) -> None:
    found = run(subject, dictionary, prompt="self " * 50, max_new_tokens=100)
    assert len(found.continuations[0].plain) <= subject.context - len(found.prompt) - 1


@pytest.mark.parametrize("norm", ["unit_scale", "layer_norm"])
def test_a_direction_is_scaled_as_the_output_is(subject: OpenedSubject, dictionary: Dictionary, norm: InputNorm) -> None:
    """Of a dictionary that normalises its input: what is added is what one more unit of the feature adds to the reconstruction."""
    scaled = replace(dictionary, input_norm=norm)
    assert subject.bos is not None
    found = run(subject, scaled, max_new_tokens=3, strength=3.0)
    ids = [subject.bos, *found.prompt]
    for token in found.continuations[0].steered:
        tokens = torch.tensor([ids])
        x = subject.activations(tokens)
        f, g = torch.zeros(2, len(ids), scaled.n_features)
        g[:, 3] = 3.0
        values = x + scaled.decode(g, x[0]) - scaled.decode(f, x[0])
        logits = splice.replace(subject, tokens, {tiny.HOOK_POINT: values}, torch.arange(len(ids))[None] > 0)
        assert int(logits[0, -1].argmax()) == token
        ids.append(token)


def test_a_transcoder_with_a_norm_is_refused(subject: OpenedSubject, dictionary: Dictionary) -> None:
    other = replace(dictionary, input_norm="layer_norm", output_point="blocks.1.hook_mlp_out")
    with pytest.raises(SubjectError, match="scale"):
        run(subject, other)


def test_a_pass_of_another_thread_is_not_changed(tiny_job: JobSpec, dictionary: Dictionary) -> None:
    """Collection reads the model that a live request steers."""
    import threading

    subject = open_subject(tiny_job.subject, tiny.HOOK_POINT)
    assert isinstance(subject, OpenedSubject)
    assert subject.is_concurrent
    tokens = torch.tensor([[0, 5, 6, 7]])
    before, logits = subject.activations(tokens), subject.logits(tokens)
    found: list[Tensor] = []

    def beside() -> Iterator[None]:
        def read() -> None:
            found.extend([subject.activations(tokens), subject.logits(tokens)])

        thread = threading.Thread(target=read)
        thread.start()
        thread.join()
        yield

    (point,) = subject._plan.points
    end = subject.attach(point, lambda tensor: (next(beside()), tensor + 100)[1], True)
    try:
        steered = subject.logits(tokens)
    finally:
        end()
    assert torch.equal(found[0], before)
    assert torch.equal(found[1], logits)
    assert not torch.equal(steered, logits)

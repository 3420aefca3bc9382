"""Each explainer over real HTTP, with endpoints that know JSON schemas and ones that do not, and with faults that pass."""

import hashlib
import json

import pytest

from api.demo.fake_llm.faults import Faults
from benches.truth.oracle import OracleReader
from tests.explain.explaining import NAMES, selves, text, two_meanings
from tests.explain.over_http import Wire
from tests.fakes.full_server import FullServer
from tests.fakes.lasting_faults import LastingFaults

FAULTS = Faults(
    rate_limited=0.06, rate_limited_silently=0.04, server_error=0.06, dropped=0.06, dropped_midway=0.04, truncated_body=0.04, invalid_json=0.06,
    missing_verdicts=0.04, extra_verdicts=0.04, refused=0.04, wrong_usage=0.04, cut_short=0.06, retry_after_seconds=0.02,
)  # fmt: skip
READS = tuple(name for name in NAMES if name != "output_tokens")


@pytest.mark.parametrize("name", NAMES)
def test_a_label_with_its_calls_in_the_book(name):
    with FullServer() as server, Wire(server.base_url) as wire:
        made = wire.explain(name, selves(), text().vocabulary)
        assert made.failure is None
        assert "self" in made.text or name == "output_tokens"
        by_key = {call.key: call for call in wire.call_store.calls}
        own = [by_key[key] for key in made.provenance["calls"]]
        assert own
        assert all(call.status == "answered" and call.template.startswith(made.provenance["template"].split("+")[0]) for call in own)
        assert made.provenance["usage"]["prompt_tokens"] == sum(call.usage.prompt_tokens for call in own)
        assert made.provenance["usage"]["is_known"]
        assert made.provenance["cost_usd"] is None  # nobody knows what a scripted model costs
        assert made.provenance["model"]["base_url"] == server.base_url
        assert len(by_key) == server.totals.requests
        purposes = {call.tag.purpose for call in wire.call_store.calls}
        assert purposes <= {name, f"{name}/choose", f"{name}/probe"}


def digest_of(messages):
    """As `Prompt.digest` has it, of messages on the wire or in the book."""
    pairs = [[message["role"], message["content"]] for message in messages]
    return hashlib.sha256(json.dumps(pairs, ensure_ascii=False).encode()).hexdigest()


@pytest.mark.parametrize("name", NAMES)
def test_the_digest_is_of_a_prompt_that_was_sent_and_stands_in_the_book(name):
    with FullServer() as server, Wire(server.base_url) as wire:
        made = wire.explain(name, selves(), text().vocabulary)
        digest = made.provenance["prompt_digest"]
        asked = [body for body in server.totals.bodies if not body["messages"][0]["content"].startswith("Task: detect\n")]
        assert digest in {digest_of(body["messages"]) for body in asked}
        assert all(body["response_format"]["json_schema"]["schema"]["required"] == ["explanation"] for body in asked)
        kept = [json.loads(call.prompt) for call in wire.call_store.calls if call.key in made.provenance["calls"]]
        assert digest in {digest_of(body["messages"]) for body in kept}


@pytest.mark.parametrize("name", READS)
def test_a_second_time_costs_no_call(name):
    with FullServer() as server, Wire(server.base_url) as wire:
        first = wire.explain(name, selves(), text().vocabulary)
        requests = server.totals.requests
        second = wire.explain(name, selves(), text().vocabulary)
        assert server.totals.requests == requests
        assert second.text == first.text
        assert second.provenance["calls"] == first.provenance["calls"]


@pytest.mark.parametrize("lacking", [("json_schema",), ("json_schema", "json_object")])
@pytest.mark.parametrize("reasoning", [False, True])
def test_endpoints_without_structured_output(lacking, reasoning):
    """JSON in text where the endpoint takes no schema."""
    with FullServer(faults=LastingFaults(lacks=lacking)) as server, Wire(server.base_url) as wire:
        made = wire.explain("contexts", selves(), text().vocabulary, reasoning=reasoning)
        assert made.failure is None
        assert "self" in made.text


@pytest.mark.parametrize("name", READS)
@pytest.mark.parametrize("seed", range(3))
def test_faults_that_pass_fail_no_feature(name, seed):
    with FullServer(faults=FAULTS, seed=seed) as server, Wire(server.base_url, spec={"timeout_seconds": 5}) as wire:
        made = wire.explain(name, selves(), text().vocabulary, seed=seed)
        assert made.failure is None
        assert "self" in made.text
        assert server.totals.requests


def test_faults_did_happen():
    """The share of faults above bites in as many requests as the tests before make."""
    with FullServer(faults=FAULTS, seed=1) as server, Wire(server.base_url, spec={"timeout_seconds": 5}) as wire:
        for feature in range(3):
            wire.explain("best_of", selves(), text().vocabulary, seed=feature)
        assert sum(server.totals.by_fault.values()) >= 5


def test_a_model_that_always_refuses_is_a_failure_with_its_calls():
    with FullServer(faults=Faults(refused=1.0)) as server, Wire(server.base_url) as wire:
        made = wire.explain("contexts", selves(), text().vocabulary)
        assert made.text is None
        assert "refused" in made.failure
        assert set(made.provenance["calls"]) == {call.key for call in wire.call_store.calls}
        assert {call.status for call in wire.call_store.calls} == {"refused"}


def test_a_model_whose_replies_are_always_cut_short_is_a_failure():
    with FullServer(faults=Faults(cut_short=1.0)) as server, Wire(server.base_url) as wire:
        made = wire.explain("contexts", selves(), text().vocabulary)
        assert made.text is None
        assert "cut short" in made.failure


def test_best_of_finds_the_true_label_among_wrong_ones():
    """An oracle judges; labels are sampled, some from a half of the contexts that misleads."""
    truth = {"the word self": lambda shown: "self" in shown, "the word import": lambda shown: "import" in shown}
    with FullServer(OracleReader(truth)) as server, Wire(server.base_url) as wire:
        made = wire.explain("best_of", selves(), text().vocabulary)
        assert made.text == "the word self"
        assert max(sample["held_out"] for sample in made.provenance["chosen"]["samples"]) == 1.0


def test_two_meanings_found_with_an_embedding_model():
    with FullServer() as server, Wire(server.base_url) as wire:
        made = wire.explain("clusters", two_meanings(), text().vocabulary, clusters=3)
        assert made.failure is None
        assert server.totals.by_path["/v1/embeddings"] >= 1
        assert sum(cluster["share"] for cluster in made.provenance["clusters"]) == pytest.approx(1)

"""The explainer `endpoint`: what is sent, what may come back, and what comes of a hostile answer, over real HTTP."""

import asyncio
import json
import re
import threading
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field, replace
from http.server import ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from benches.memory_call_store import MemoryCallStore
from examples.endpoint.server import Explainer
from interp.config.settings import Settings
from interp.domain.errors import EndpointRefusedError, EndpointUnreachableError, JobPausedError, KeyRefusedError, PriceUnknownError
from interp.domain.evidence import FeatureEvidence, Split
from interp.domain.explanation import Explanation
from interp.domain.spec import BudgetSpec, ExplainerSpec
from interp.explain.base import ExplainerInput
from interp.explain.endpoint import UNKNOWN_READING, DictionaryPlace, EndpointContext, EndpointExplainer, chosen_contexts, request_of
from interp.llm.call_store import Tag
from interp.llm.client import LlmClient
from interp.llm.label_endpoint import LabelAnswer, read_answer
from interp.llm.prompt_text import plain
from tests.explain.explaining import selves
from tests.explain.planted import text
from tests.security.hostile import Answer, Hostile, hostile, says, streams
from tests.security.test_endpoints import MIB, bomb

KEY = "sk-test-0123456789abcdef"
PLACE = DictionaryPlace("tiny@1-res", 64, "positive", "tiny", "blocks.0.hook_resid_post", 16)
PAGE = Path(__file__).parents[2] / "docs" / "explainer-endpoint.md"


@dataclass
class Asking:
    """What a worker has, for one endpoint: settings, and a call store that outlives the client."""

    url: str
    call_store: MemoryCallStore = field(default_factory=MemoryCallStore)
    settings: dict[str, Any] = field(default_factory=dict)
    options: dict[str, Any] = field(default_factory=dict)

    async def run(self, found: FeatureEvidence) -> Explanation:
        given = {"llm_endpoints": (self.url,), "llm_keys": {self.url: KEY}, "llm_max_outage_seconds": 0.2}
        client = LlmClient(Settings(**(given | self.settings)))
        spec = ExplainerSpec(name="endpoint", url=self.url, **({"timeout_seconds": 10.0} | self.options))
        try:
            endpoint = client.label_endpoint(spec, self.call_store, Tag("job", "chunk", "explain", found.feature, "endpoint"))
            return await EndpointExplainer(spec).explain(item_of(found), EndpointContext(text().vocabulary, 0, PLACE, endpoint))
        finally:
            await client.close()


def item_of(found: FeatureEvidence) -> ExplainerInput:
    return ExplainerInput.of(found, text().vocabulary)


def met(answer: Answer, **options: Any) -> tuple[Explanation | Exception, Hostile, MemoryCallStore]:
    """What comes of one feature at an endpoint that answers so."""

    async def work() -> tuple[Explanation | Exception, Hostile, MemoryCallStore]:
        async with hostile(answer) as at:
            asking = Asking(at.base_url, options=options)
            try:
                return await asking.run(selves()), at, asking.call_store
            except JobPausedError as error:
                return error, at, asking.call_store

    return asyncio.run(work())


def in_turn(*answers: Answer) -> Answer:
    """One answer after the other; the last again and again."""
    left = list(answers)

    async def answer(writer: asyncio.StreamWriter) -> None:
        await (left.pop(0) if len(left) > 1 else left[0])(writer)

    return answer


def failed(answer: Answer, **options: Any) -> str:
    found, _, _ = met(answer, **options)
    assert isinstance(found, Explanation), found
    assert found.text is None
    assert found.failure is not None
    assert found.failure.isprintable()
    return found.failure


# What is sent.


class Answering:
    """An endpoint behind no wire, which keeps its requests."""

    def __init__(self) -> None:
        self.requests: list[dict[str, Any]] = []

    @property
    def provenance(self) -> dict[str, Any]:
        return {"url": "http://x"}

    async def ask(self, request: str) -> LabelAnswer:
        self.requests.append(json.loads(request))
        raise NotImplementedError


def request(found: FeatureEvidence, number: int = 100, place: DictionaryPlace = PLACE) -> dict[str, Any]:
    item = item_of(found)
    made = request_of(item, chosen_contexts(item, number, 0), EndpointContext(text().vocabulary, 0, place, Answering()))
    return json.loads(json.dumps(made, allow_nan=False))


def test_a_request_holds_every_text_of_the_explain_split_and_none_of_the_test_split() -> None:
    found, vocabulary = selves(), text().vocabulary
    own, other = (found.contexts.of(split) for split in (Split.EXPLAIN, Split.TEST))
    texts = {plain(own, row, vocabulary) for row in range(len(own))}
    shown = ["".join(context["tokens"]) for context in request(found)["contexts"]]
    assert len(shown) == len(set(shown))
    assert set(shown) == texts
    foreign = {plain(other, row, vocabulary) for row in range(len(other))} - texts
    assert foreign
    assert not [one for one in foreign if one in json.dumps(request(found), ensure_ascii=False)]


def test_nothing_of_the_test_split_changes_a_request() -> None:
    found = selves()
    keep = found.contexts.splits == Split.EXPLAIN
    statistics = replace(found.statistics, windows_seen=(found.statistics.windows_seen[0], 7), windows_active=(found.statistics.windows_active[0], 3))
    without = replace(found, contexts=found.contexts.select(keep), statistics=replace(statistics, max_activation=1e4, mean_active=3.0))
    assert request(without) == request(found)


def test_contexts_say_where_the_feature_fires_strongest_first() -> None:
    contexts = request(selves())["contexts"]
    firing = [context for context in contexts if context["peak"] is not None]
    assert 0 < len(firing) < len(contexts)
    assert contexts[: len(firing)] == firing
    peaks = [context["activations"][context["peak"]] for context in firing]
    assert peaks == sorted(peaks, reverse=True)
    for context in contexts:
        assert len(context["tokens"]) == len(context["ids"]) == len(context["activations"])
        assert context["groups"]
        assert set(context["groups"]) <= ({"top", "uniform", "weighted"} if context["peak"] is not None else {"inactive", "near_miss"})
    assert {firing[0]["tokens"][firing[0]["peak"]].strip()} == {"self"}
    assert "top" in firing[0]["groups"]


def test_a_number_of_contexts_bounds_both_kinds() -> None:
    contexts = request(selves(), 3)["contexts"]
    assert [context["peak"] is not None for context in contexts] == [True] * 3 + [False] * 3


def test_a_negative_side_is_named_as_elsewhere() -> None:
    found = request(replace(selves(), feature=40), place=replace(PLACE, polarity="both"))
    assert found["feature"]["name"] == "tiny@1-res:8-"


def test_a_feature_that_never_fires_is_not_asked_about() -> None:
    async def work() -> None:
        async with hostile(says(b"{}")) as at:
            found = selves()
            silent = replace(found, contexts=found.contexts.select(~found.contexts.fires()))
            made = await Asking(at.base_url).run(silent)
            assert made.failure is not None
            assert "no explain context" in made.failure
            assert at.heads == []

    asyncio.run(work())


# What may come back.


def test_a_label_with_its_cost_and_call() -> None:
    answer = {"label": " the  word\nself ", "details": "so\tit is", "cost_dollars": 0.25, "usage": {"prompt_tokens": 7, "completion_tokens": 3}}
    made, at, store = met(says(json.dumps(answer).encode()), price=1.0)
    assert isinstance(made, Explanation)
    assert (made.text, made.failure, made.explainer) == ("the word self", None, "endpoint")
    facts = made.provenance
    assert (facts["details"], facts["cost_usd"], facts["test_split"]) == ("so\tit is", 0.25, UNKNOWN_READING)
    assert facts["usage"] == {"prompt_tokens": 7, "completion_tokens": 3, "is_known": True}
    assert facts["endpoint"] == {"url": at.base_url}
    assert facts["settings"] == {"name": "endpoint", "url": at.base_url}
    (call,) = store.calls
    assert facts["calls"] == [call.key]
    assert (call.status, call.cost_usd, call.base_url, call.template) == ("answered", 0.25, at.base_url, "endpoint@1")
    assert json.loads(call.prompt) == json.loads(at.bodies[0]) == request(selves())
    assert "POST /v1 HTTP/1.1" in at.heads[0]
    assert f"authorization: bearer {KEY}\r\n" in at.heads[0].lower()
    assert facts["contexts"] == chosen_contexts(item_of(selves()), 100, 0).identities()


def test_a_key_goes_into_the_named_header_alone() -> None:
    _, at, _ = met(says(b'{"label": "x"}'), key_header="X-API-Key")
    assert f"x-api-key: {KEY}\r\n" in at.heads[0].lower()
    assert "authorization" not in at.heads[0].lower()


@pytest.mark.parametrize("header", ["Host", "Content-Length", "Cookie", "X-Key\r\nHost", "Ключ-Key", ""])
def test_no_other_header_can_be_named(header: str) -> None:
    with pytest.raises(ValidationError):
        ExplainerSpec(name="endpoint", url="http://x", key_header=header)


def test_the_last_slash_of_a_url_is_kept() -> None:
    async def work() -> str:
        async with hostile(says(b'{"label": "x"}')) as at:
            await Asking(f"{at.base_url}/").run(selves())
            return at.heads[0]

    assert "POST /v1/ HTTP/1.1" in asyncio.run(work())


def test_a_refusal_is_the_features_own_and_is_asked_again() -> None:
    async def work() -> None:
        async with hostile(in_turn(says(b'{"refused": "too\\u001b[2J few"}'), says(b'{"label": "x"}'))) as at:
            asking = Asking(at.base_url)
            made = await asking.run(selves())
            assert (made.text, made.failure) == (None, "The endpoint refused: too few")
            assert (asking.call_store.calls[0].status, len(asking.call_store.answers)) == ("refused", 0)
            assert (await asking.run(selves())).text == "x"

    asyncio.run(work())


@pytest.mark.parametrize("label", ["unclear", "  N/A. ", "Unknown"])
def test_a_label_that_says_nothing_is_none(label: str) -> None:
    assert "no explanation to give" in failed(says(json.dumps({"label": label}).encode()))


def test_an_answer_is_kept_and_not_asked_for_twice() -> None:
    async def work() -> None:
        async with hostile(says(b'{"label": "x", "cost_dollars": 0.5}')) as at:
            asking = Asking(at.base_url, options={"price": 1.0})
            first, second = await asking.run(selves()), await asking.run(selves())
            assert (first, len(at.heads), asking.call_store.spent.calls) == (second, 1, 1)
            other = replace(asking, options={"contexts": 2})
            assert (await other.run(selves())).text == "x"
            assert len(at.heads) == 2, "another request"

    asyncio.run(work())


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        ("[]", "no JSON object"),
        ("label", "no JSON"),
        ("", "no JSON"),
        ("[" * 100_000, "no JSON"),
        ("9" * 5000, "no JSON"),
        ("{}", 'either "label" or "refused"'),
        ('{"label": "x", "refused": "y"}', 'either "label" or "refused"'),
        ('{"label": 3}', "label: Input should be a valid string"),
        ('{"label": ["x"]}', "label"),
        ('{"label": {"label": "x"}}', "label"),
        ('{"label": " \\u001b[2J\\n "}', "blank"),
        ('{"explanation": "x"}', "explanation: Extra inputs"),
        ('{"label": "x", "cost_dollars": "1"}', "cost_dollars"),
        ('{"label": "x", "cost_dollars": -1}', "cost_dollars"),
        ('{"label": "x", "cost_dollars": NaN}', "cost_dollars"),
        ('{"label": "x", "cost_dollars": 1e300}', "cost_dollars"),
        ('{"label": "x", "usage": {"prompt_tokens": true}}', "usage.prompt_tokens"),
        ('{"label": "x", "usage": {"prompt_tokens": 1e99}}', "usage.prompt_tokens"),
        ('{"label": "x", "usage": {"total": 1}}', "usage.total"),
        (json.dumps({"label": "x" * 1001}), "1,001 characters"),
        (json.dumps({"label": "x", "details": "y" * 20_001}), "details"),
        ('{"\\u001b[2J\\u202ename": 1}', "name: Extra inputs"),
    ],
)
def test_an_answer_of_another_form_fails_its_feature_with_what_is_wrong(answer: str, why: str) -> None:
    found, at, store = met(says(answer.encode()))
    assert isinstance(found, Explanation)
    assert found.failure is not None
    assert found.failure.isprintable()
    assert why in found.failure
    assert "docs/explainer-endpoint.md" in found.failure
    assert len(at.heads) == 1, "the same request would get the same answer"
    assert [(call.status, call.raw) for call in store.calls] == [("failed", None)]
    assert found.provenance["calls"] == [store.calls[0].key]


NAMES = st.sampled_from(["label", "refused", "usage", "cost_dollars"]) | st.text()
VALUES = st.recursive(st.none() | st.booleans() | st.floats() | st.text(), lambda each: st.dictionaries(NAMES, each))


@given(st.binary(max_size=200) | VALUES.map(lambda value: json.dumps(value).encode()))
def test_whatever_comes_is_an_answer_or_has_a_reason(body: bytes) -> None:
    try:
        found = read_answer(body.decode("utf-8", "replace"))
    except ValueError as error:
        assert str(error).isprintable()
        assert 0 < len(str(error)) < 700
    else:
        assert (found.label is None) != (found.refused is None)


def test_controls_and_lone_surrogates_become_harmless() -> None:
    answer = b'{"label": "\\ud800 red\\u001b[31m \\u202etext\\u0000", "details": "\\udfff\\u001b]0;title\\u0007"}'
    made, _, _ = met(says(answer))
    assert isinstance(made, Explanation)
    assert made.text == "? red text"
    assert made.text.isprintable()
    assert "\x1b" not in made.provenance["details"]
    json.dumps(made.provenance, ensure_ascii=False).encode()


def test_a_key_that_an_endpoint_quotes_is_not_kept() -> None:
    made, _, store = met(says(json.dumps({"label": f"the key {KEY}"}).encode()))
    assert isinstance(made, Explanation)
    assert made.text == "the key ***"
    assert KEY not in str(store.calls)
    assert KEY not in failed(says(f"bad key {KEY}".encode(), "400 Bad Request"))


# What an endpoint may do to us.


@pytest.mark.parametrize("answer", [says(bomb(64 * MIB), content_encoding="gzip"), streams(b" " * 65536), streams(b"x", content_length=str(2**30))])
def test_a_reply_that_is_too_large_fails_its_feature(answer: Answer) -> None:
    assert "GLOSSATOR_LLM_MAX_REPLY_BYTES" in failed(answer)


@pytest.mark.parametrize("status", ["400 Bad Request", "404 Not Found", "405 Not Allowed", "413 Too Large", "418 I'm a teapot", "422 Unprocessable"])
def test_other_rejections_are_the_features_own_with_the_endpoints_words(status: str) -> None:
    words = failed(says(b'{"detail": "no \\u001b[31msuch feature' + b"!" * 5000 + b'"}', status))
    assert "no such feature" in words
    assert len(words) < 1200


def test_a_model_that_an_agent_lacks_pauses_no_job() -> None:
    assert "status 404" in failed(says(b"model gpt-9 does not exist", "404 Not Found"))


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        ("401 Unauthorized", KeyRefusedError),
        ("403 Forbidden", KeyRefusedError),
        ("302 Found", EndpointUnreachableError),
        ("500 Broken", EndpointUnreachableError),
        ("503 Busy", EndpointUnreachableError),
    ],
)
def test_what_would_fail_every_feature_pauses_the_job(status: str, kind: type[JobPausedError]) -> None:
    found, _, _ = met(says(b"", status))
    assert isinstance(found, kind)


def test_a_redirect_carries_nothing_elsewhere() -> None:
    async def work() -> None:
        async with hostile(says(b'{"label": "x"}')) as other, hostile(says(b"", "307 Temporary Redirect", location=other.base_url)) as at:
            with pytest.raises(EndpointUnreachableError, match="redirect"):
                await Asking(at.base_url).run(selves())
            assert other.heads == []

    asyncio.run(work())


@pytest.mark.parametrize("faults", [["503 Busy"], ["429 Too Many", "500 Broken"], ["502 Bad Gateway"]])
def test_passing_faults_are_waited_out(faults: list[str]) -> None:
    async def work() -> None:
        answers = [says(b"", status, retry_after="0.01") for status in faults]
        async with hostile(in_turn(*answers, says(b'{"label": "x"}'))) as at:
            asking = Asking(at.base_url, settings={"llm_max_outage_seconds": 30.0})
            assert (await asking.run(selves())).text == "x"
            assert len(at.heads) == len(faults) + 1
            assert len(set(at.bodies)) == 1
            assert asking.call_store.calls[0].attempts == len(faults) + 1

    asyncio.run(work())


def test_a_silent_endpoint_gets_the_time_of_an_attempt() -> None:
    async def silent(writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(60)

    async def work() -> None:
        async with hostile(in_turn(silent, says(b'{"label": "x"}'))) as at:
            asking = Asking(at.base_url, settings={"llm_max_outage_seconds": 30.0}, options={"timeout_seconds": 0.2, "price": 0.5})
            made = await asking.run(selves())
            assert (made.text, made.provenance["cost_usd"]) == ("x", 1.0), "the lost attempt may have cost as much"

    asyncio.run(work())


# What it may cost.


@pytest.mark.parametrize(("caps", "answered"), [({"calls": 3}, 3), ({"usd": 1.0}, 2), ({"tokens": 100}, 4), ({"usd": 0.4}, 0)])
def test_no_cap_is_passed_whatever_an_endpoint_says(caps: dict[str, Any], answered: int) -> None:
    answer = says(b'{"label": "x", "cost_dollars": 1000, "usage": {"prompt_tokens": 100000}}')

    async def work() -> None:
        async with hostile(answer) as at:
            asking = Asking(at.base_url, MemoryCallStore(BudgetSpec(**caps)), options={"price": 0.5, "most_tokens": 25})
            outcomes = [await _outcome(asking.run(replace(selves(), feature=feature))) for feature in range(6)]
            assert [isinstance(one, Explanation) for one in outcomes] == [place < answered for place in range(6)]
            spent = asking.call_store.spent
            assert (spent.calls, spent.tokens, spent.usd) == (answered, 25 * answered, 0.5 * answered)
            assert [call.cost_usd for call in asking.call_store.calls] == [1000.0] * answered, "the record says what the endpoint said"

    asyncio.run(work())


async def _outcome(work: Awaitable[Explanation]) -> Explanation | JobPausedError:
    try:
        return await work
    except JobPausedError as error:
        return error


def test_a_cap_in_usd_needs_a_price() -> None:
    async def work() -> None:
        async with hostile(says(b'{"label": "x"}')) as at:
            with pytest.raises(PriceUnknownError):
                await Asking(at.base_url, MemoryCallStore(BudgetSpec(usd=1.0))).run(selves())
            assert at.heads == []

    asyncio.run(work())


def test_a_stored_job_pauses_where_its_url_is_on_the_list_no_more() -> None:
    with pytest.raises(EndpointRefusedError, match="GLOSSATOR_LLM_ENDPOINTS"):
        asyncio.run(Asking("http://127.0.0.1:9/explain", settings={"llm_endpoints": (), "llm_keys": {}}).run(selves()))


def test_twenty_unreadable_answers_in_a_row_pause_the_job() -> None:
    async def work() -> None:
        async with hostile(says(b"nothing")) as at:
            client = LlmClient(Settings(llm_endpoints=(at.base_url,)))
            spec = ExplainerSpec(name="endpoint", url=at.base_url)
            endpoint = client.label_endpoint(spec, MemoryCallStore(), Tag("job", "chunk", "explain", 0, "endpoint"))
            context = EndpointContext(text().vocabulary, 0, PLACE, endpoint)
            explained: list[Callable[[], Awaitable[Explanation]]] = [
                lambda feature=feature: EndpointExplainer(spec).explain(item_of(replace(selves(), feature=feature)), context) for feature in range(22)
            ]
            outcomes = [await _outcome(each()) for each in explained]
            assert isinstance(outcomes[18], Explanation)
            assert isinstance(outcomes[21], JobPausedError)
            await client.close()

    asyncio.run(work())


# The spec.


@pytest.mark.parametrize(
    "options",
    [
        {"name": "endpoint"},
        {"name": "endpoint", "url": "ftp://x"},
        {"name": "endpoint", "url": "http://x", "price": -1},
        {"name": "contexts", "url": "http://x"},
        {"name": "contexts", "price": 1},
        {"name": "best_of", "timeout_seconds": 5},
    ],
)
def test_settings_that_fit_no_explainer_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        ExplainerSpec.model_validate(options)


def test_how_an_endpoint_is_called_decides_no_label() -> None:
    bare = ExplainerSpec(name="endpoint", url="http://x")
    full = ExplainerSpec(name="endpoint", url="http://x", timeout_seconds=5, price=1, most_tokens=9, concurrency=2, key_header="X-Key")
    assert full.options() == bare.options() == {"name": "endpoint", "url": "http://x"}
    assert "url" not in ExplainerSpec(name="contexts").model_dump()


# The page, and the example.


def documented() -> list[Any]:
    """The JSON of the page: the request, an answer, a refusal."""
    return [json.loads(block) for block in re.findall(r"(?ms)^```json\n(.*?)^```", PAGE.read_text(encoding="utf-8"))]


def shape(value: Any) -> Any:
    """The fields and types of a JSON value; of a list, those of its entries."""
    if isinstance(value, dict):
        return {name: shape(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return sorted({json.dumps(shape(inner), sort_keys=True) for inner in value})
    return "null" if value is None else type(value).__name__


def test_the_documented_request_is_what_is_sent() -> None:
    assert shape(documented()[0]) == shape(request(selves()))


def test_the_documented_answers_are_answers() -> None:
    _, label, refusal = documented()
    assert read_answer(json.dumps(label)).label == label["label"]
    assert read_answer(json.dumps(refusal)).refused == refusal["refused"]


@pytest.fixture
def example() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Explainer)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/explain"
    server.shutdown()
    server.server_close()


def test_the_example_labels_a_feature(example: str, capsys: pytest.CaptureFixture[str]) -> None:
    made = asyncio.run(Asking(example).run(selves()))
    assert made.text is not None
    assert re.fullmatch(r"the token ` ?self`", made.text)
    assert made.provenance["cost_usd"] == 0.0
    capsys.readouterr()

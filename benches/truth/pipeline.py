"""Explain and score planted features over HTTP, through the client and the scripted server, as a worker does."""

import asyncio
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from api.demo.fake_llm.faults import Faults
from api.demo.fake_llm.readers import CoinReader, ConstantReader, NoisyReader, QuotedReader
from api.demo.fake_llm.server import ScriptedServer
from benches.memory_call_store import MemoryCallStore
from benches.truth.judges import InProcess, judge, oracle
from benches.truth.planted import DETECTION, item, named
from benches.truth.world import World
from interp.config.settings import Settings
from interp.domain.explanation import Explanation
from interp.domain.score import Score
from interp.domain.spec import ExplainerSpec, ModelSpec
from interp.explain import registry as explainers
from interp.explain.base import ExplainContext, ExplainerInput
from interp.llm.call_store import Tag
from interp.llm.client import LlmClient
from interp.score import registry as scorers
from interp.score.base import ScoreContext, ScorerInput

Line = dict[str, Any]
FAULTS = 0.3


def over_http(world: World, every: int = 4, faults: float = FAULTS) -> Iterator[Line]:
    """Explained by an oracle, then judged by each judge, with faults in three of ten answers; held against the same in process, without faults."""
    features = named(world)[::every]
    readers: dict[str, QuotedReader] = {
        "oracle": oracle(world),
        "noisy": NoisyReader(oracle(world), 0.9, 0.1),
        "yes": ConstantReader(),
        "coin": CoinReader(),
    }
    found = asyncio.run(_explained(world, features, readers["oracle"], faults))
    labels = {explanation.feature: explanation for explanation in found if explanation.text is not None}
    right = np.mean([labels[feature].text == world.meanings[feature].label for feature in labels])
    yield {
        "bench": "pipeline",
        "stage": "explain",
        "explained": len(labels) / len(features),
        "label_is_the_planted_one": right,
        "runs": len(features),
    }
    for name, reader in readers.items():
        items = [item(world, feature, world.meanings[feature]) for feature in features]
        scores = asyncio.run(_scored(world, items, reader, faults))
        same = judge(InProcess(reader), DETECTION, items, world.vocabulary)
        yield {
            "bench": "pipeline",
            "stage": "score",
            "judge": name,
            "balanced_accuracy": np.mean([score.value for score in scores]),
            "same_as_in_process": np.mean([one.value == other.value for one, other in zip(scores, same, strict=True)]),
            "failed": sum(score.failed for score in scores),
            "runs": len(scores),
        }


async def _explained(world: World, features: Sequence[int], reader: QuotedReader, faults: float) -> list[Explanation]:
    explainer = explainers.get(ExplainerSpec(name="contexts"))
    with ScriptedServer(reader, Faults.mixed(faults)) as server:
        client = LlmClient(Settings(llm_base_url=server.base_url, llm_max_concurrent_calls=8))
        model = client.model(ModelSpec(model="scripted"), MemoryCallStore(), Tag("job", "chunk", "explain", None, "contexts"))
        context = ExplainContext(world.vocabulary, 0, model, model)
        try:
            asked = [explainer.explain(ExplainerInput.of(world.evidence[feature], world.vocabulary), context) for feature in features]
            return await asyncio.gather(*asked)
        finally:
            await client.close()


async def _scored(world: World, items: Sequence[ScorerInput], reader: QuotedReader, faults: float) -> list[Score]:
    scorer = scorers.judged(DETECTION)
    with ScriptedServer(reader, Faults.mixed(faults)) as server:
        client = LlmClient(Settings(llm_base_url=server.base_url, llm_max_concurrent_calls=8))
        model = client.model(ModelSpec(model="scripted-judge"), MemoryCallStore(), Tag("job", "chunk", "score", None, "detection"))
        try:
            return await asyncio.gather(*(scorer.score(each, ScoreContext(world.vocabulary, 0, model)) for each in items))
        finally:
            await client.close()

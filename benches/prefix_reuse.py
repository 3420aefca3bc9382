"""Count the prompt tokens that an engine's prefix cache would hold, for the requests of a real job.

An engine such as vLLM keeps the keys and values of full blocks of tokens by all tokens up to a block's end. A request reuses the blocks that it
begins with, as far as an earlier request began with the same; its last token is always computed. Here no block is ever dropped, so that a figure is
the most that a cache can give, and the order of requests does not matter.
"""

import json
import sysconfig
import tempfile
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, get_args

from sqlalchemy import select
from tokenizers import Tokenizer

from api.demo.fake_llm.server import ScriptedServer
from api.jobs import admission
from interp.config.settings import Settings
from interp.domain.lifecycle import JobStatus, Queue, Stage
from interp.domain.spec import (
    CollectionSpec,
    CorpusSpec,
    DictionarySpec,
    ExplainerSpec,
    JobSpec,
    ModelSpec,
    ModelsSpec,
    PromptOrder,
    ScorerSpec,
    SubjectSpec,
)
from interp.store import migrate
from interp.store.db.engine import snapshot, transaction
from interp.store.db.tables import LlmCallRow
from interp.store.db.text import unpack
from interp.store.llm import reply_cache
from interp.store.queue import jobs
from workers.runtime import Runtime
from workers.worker import drain

EXAMPLE = Path(__file__).parents[1] / "examples" / "pystdlib"
TOKENIZER = EXAMPLE / "subject" / "tokenizer.json"
BLOCK = 16
FEATURES, TOKENS = 32, 200_000
SCORERS = ("detection", "fuzz", "selection", "simulation", "discrimination")
Messages = list[dict[str, str]]


def lines(features: int | None = None, tokenizer: Path | None = None) -> Iterator[dict[str, Any]]:
    """Yield a line per scorer: the reuse among its own requests, in both orders of the prompt."""
    encode = Tokenizer.from_file(str(tokenizer or TOKENIZER))
    found = requests_of_jobs(features or FEATURES)
    for scorer in SCORERS:
        reuse = {order: reused([tokens_of(encode, messages) for messages in found[order][scorer]]) for order in get_args(PromptOrder)}
        yield {
            "bench": "prefix",
            "scorer": scorer,
            "features": features or FEATURES,
            "block": BLOCK,
            "tokenizer": (tokenizer or TOKENIZER).resolve().parents[1].name,
            "requests": len(found["windows_first"][scorer]),
            "tokens_a_request": {order: round(tokens / max(1, len(found[order][scorer]))) for order, (tokens, _) in reuse.items()},
            "prefix_reuse_before": _share(*reuse["label_first"]),
            "prefix_reuse": _share(*reuse["windows_first"]),
        }


def requests_of_jobs(features: int) -> dict[PromptOrder, dict[str, list[Messages]]]:
    """Return the messages of all requests by order and scorer, of one job for each order."""
    with tempfile.TemporaryDirectory() as folder, ScriptedServer() as server:
        settings = Settings(home=Path(folder), llm_base_url=server.base_url)
        migrate.upgrade(settings.database_url)
        runtime = Runtime.of(settings)
        return {order: _requests(runtime, _spec(server.base_url, features, order)) for order in get_args(PromptOrder)}


def _requests(runtime: Runtime, spec: JobSpec) -> dict[str, list[Messages]]:
    with transaction(runtime.engine) as session:
        checked = admission.check(spec, runtime.settings)
        job = jobs.submit(session, checked.spec, checked.facts).id
    drain(runtime, Queue.GPU)
    drain(runtime, Queue.LLM)
    found: dict[str, list[Messages]] = defaultdict(list)
    with snapshot(runtime.engine) as session:
        ended = jobs.get(session, job)
        if ended.status != JobStatus.COMPLETED:
            raise SystemExit(f"the job is {ended.status}: {ended.error}")
        calls = session.execute(
            select(LlmCallRow.key, LlmCallRow.purpose).where(LlmCallRow.job_id == job, LlmCallRow.stage == Stage.SCORE).order_by(LlmCallRow.id)
        ).all()
        replies = reply_cache.load(session, [key for key, _ in calls])
        for key, purpose in calls:
            found[purpose.partition("/")[0]].append(json.loads(unpack(replies[key].prompt))["messages"])
    return found


def tokens_of(tokenizer: Tokenizer, messages: Messages) -> list[int]:
    """Return the tokens of a chat between marks of its messages, as in ChatML."""
    text = "".join(f"<|im_start|>{message['role']}\n{message['content']}<|im_end|>\n" for message in messages)
    found: list[int] = tokenizer.encode(f"{text}<|im_start|>assistant\n", add_special_tokens=False).ids
    return found


def reused(requests: Iterable[Sequence[int]], block: int = BLOCK) -> tuple[int, int]:
    """Return the tokens of all requests, and those of them that a prefix cache holds."""
    kept: set[int] = set()
    total = hits = 0
    for tokens in requests:
        total += len(tokens)
        is_hit, state = True, 0
        for end in range(block, len(tokens) + 1, block):
            state = hash((state, *tokens[end - block : end]))
            is_hit = is_hit and state in kept and end < len(tokens)
            hits += block * is_hit
            kept.add(state)
    return total, hits


def _share(total: int, hits: int) -> float:
    return round(hits / max(1, total), 3)


def _spec(base_url: str, features: int, order: PromptOrder) -> JobSpec:
    model = ModelSpec(model="scripted", base_url=base_url)
    return JobSpec(
        subject=SubjectSpec(model=str(EXAMPLE / "subject"), backend="huggingface"),
        dictionary=DictionarySpec(source=str(EXAMPLE / "dictionary"), name="pystdlib@prefix"),
        corpus=CorpusSpec(path=sysconfig.get_paths()["stdlib"], include=("**/*.py",), undecodable="skip", max_tokens=TOKENS),
        collection=CollectionSpec(output_tokens=0),
        features=f"0-{features - 1}",
        explainers=(ExplainerSpec(name="contexts"),),
        scorers=tuple(ScorerSpec(name=name, judge="llm", order=order) for name in SCORERS),
        models=ModelsSpec(explainer=model, judge=model),
    )

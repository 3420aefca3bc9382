"""A worker to be killed: `python -m tests.llm.batch_worker URL FOLDER [TRANSPORT]` asks a few questions in a batch, with a call store of files."""

import json
import sys
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from benches.memory_call_store import MemoryCallStore
from interp.llm.base import Message, Prompt, Usage
from interp.llm.call_store import Call, PendingBatch, StoredReply
from interp.llm.prompt_text import fence, fence_label, nonce_of
from tests.llm.conftest import ClientHarness, question

COUNT = 30
EXPECTED = [f'{{"1": "{"no" if number % 3 else "yes"}"}}' for number in range(COUNT)]


def prompts(count: int = COUNT) -> list[Prompt]:
    """Every third text holds what the label says."""
    return [prompt(f"number {number} is a {'dog' if number % 3 else 'cat'}") for number in range(count)]


def prompt(text: str) -> Prompt:
    nonce = nonce_of([text])
    user = Message("user", fence_label('"cat"', nonce) + "\n" + fence([("1", text)], nonce))
    return replace(question(), messages=(question().messages[0], user))


@dataclass
class FileCallStore(MemoryCallStore):
    """Answers and batches survive the process: every change is on disk before it returns."""

    folder: Path = field(default_factory=Path)

    def __post_init__(self) -> None:
        if (self.folder / "batches.json").exists():
            self.batches = [PendingBatch(**(row | {"keys": tuple(row["keys"])})) for row in json.loads((self.folder / "batches.json").read_text())]
        for path in self.folder.glob("answer-*.json"):
            row = json.loads(path.read_text())
            self.answers[row["key"]] = StoredReply(row["key"], row["raw"], Usage(**row["usage"]), row["cost_usd"])

    def record(self, call: Call) -> None:
        super().record(call)
        if call.key in self.answers:
            _write(self.folder / f"answer-{call.key[:32]}.json", asdict(self.answers[call.key]))

    async def batch_submitted(self, batch: PendingBatch) -> None:
        await super().batch_submitted(batch)
        _write(self.folder / "batches.json", [asdict(row) for row in self.batches])

    async def batch_ended(self, batch_id: str) -> None:
        await super().batch_ended(batch_id)
        _write(self.folder / "batches.json", [asdict(row) for row in self.batches])


def _write(path: Path, value: object) -> None:
    """Whole or not at all."""
    path.with_suffix(".new").write_text(json.dumps(value))
    path.with_suffix(".new").rename(path)


if __name__ == "__main__":
    call_store = FileCallStore(folder=Path(sys.argv[2]))
    (transport,) = sys.argv[3:] or ["batch"]
    print(json.dumps([reply.text for reply in ClientHarness(sys.argv[1], call_store=call_store).ask_all(prompts(), transport=transport)]))

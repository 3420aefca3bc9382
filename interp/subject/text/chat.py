"""Messages of a chat as text and ids, by the tokenizer's chat template.

The template is a program of whoever made the model: it runs in the sandbox of transformers, in a process of its own (`chat_process`). AutoTokenizer,
which knows the BOS, loads torch, so only gpu workers render messages.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from interp.domain.spec import SubjectSpec
from interp.subject.location import read_subject_bytes
from interp.subject.text import chat_process
from interp.subject.text.chat_template import read_template
from interp.subject.text.special import ROLES, TokenizerSettings
from interp.subject.text.tokenizer import bos_of
from interp.subject.text.tokenizer_file import guarded, open_backend

Message = Mapping[str, str]


@dataclass(frozen=True)
class Chat:
    """A chat template with its tokenizer; `tokens` has the special tokens by name (`bos_token`)."""

    template: str
    tokens: Mapping[str, str]
    bos: int | None
    backend: Any

    def render(self, messages: Sequence[Message]) -> str:
        """Return the text of messages with `role` and `content`; raises TokenizerMismatchError."""
        return chat_process.render(self.template, self.tokens, messages)

    def encode(self, messages: Sequence[Message]) -> NDArray[np.uint32]:
        """Return ids uint32 of messages, special tokens included, without a BOS at the start.

        Rows get their BOS later. Special tokens in what the messages say are recognised too, as transformers does by default.
        """
        with guarded("The subject's tokenizer cannot encode the messages."):
            ids = self.backend.encode(self.render(messages), add_special_tokens=False).ids
        return np.array(ids[1:] if ids and ids[0] == self.bos else ids, dtype=np.uint32)


def open_chat(spec: SubjectSpec) -> Chat:
    """Open the chat template in the subject's files; raises FileMissingError and TokenizerMismatchError."""
    template, settings = read_template(spec)
    backend = open_backend(read_subject_bytes(spec, "tokenizer.json"))
    backend.encode_special_tokens = False
    texts = TokenizerSettings.of(settings)
    tokens = {f"{role}_token": text for role in ROLES if (text := texts.text(role)) is not None}
    return Chat(template, tokens, bos_of(spec, library=True), backend)

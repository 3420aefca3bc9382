"""Special tokens of a subject, from its files: their ids and the BOS of rows."""

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Annotated, Any

from interp.domain.errors import FileMissingError, TokenizerMismatchError
from interp.domain.spec import SubjectSpec
from interp.security.foreign_config import FirstError, Foreign, brief, typed
from interp.subject.defaults import GENERIC, class_bos, tokenizer_class
from interp.subject.location import read_subject_json
from interp.subject.shape import ModelShape
from interp.subject.text.tokenizer_file import CURE, TokenizerFile

ROLES = ("bos", "eos", "pad", "unk", "cls", "sep", "mask")


class AddedToken(Foreign):
    """A special token as an object."""

    content: str


class TokenizerSettings(Foreign):
    """tokenizer_config.json updated with special_tokens_map.json; keys of `tokens` are like `bos_token`."""

    tokens: dict[str, str | AddedToken | None]
    tokenizer_class: str | None = None

    @classmethod
    def of(cls, content: Mapping[str, Any]) -> "TokenizerSettings":
        fields = {"tokens": _by_role(content, "token"), "tokenizer_class": content.get("tokenizer_class")}
        return typed(cls, fields, "The tokenizer's settings", TokenizerMismatchError, CURE)

    def text(self, role: str) -> str | None:
        token = self.tokens.get(f"{role}_token")
        return token.content if isinstance(token, AddedToken) else token

    @property
    def names_bos(self) -> bool:
        """Return whether a file has a BOS, or says that there is none."""
        return "bos_token" in self.tokens


class TokenIds(Foreign):
    """Ids in config.json and generation_config.json, with keys such as `bos_token_id`."""

    ids: dict[str, int | Annotated[list[int], FirstError()] | None]


def _by_role(content: Mapping[str, Any], suffix: str) -> dict[str, Any]:
    return {name: content[name] for role in ROLES if (name := f"{role}_{suffix}") in content}


class Classes(Foreign):
    """Fields of config.json that decide the tokenizer's class."""

    model_type: str | None = None
    tokenizer_class: str | None = None
    text_config: dict[str, Any] | None = None


@dataclass(frozen=True)
class SpecialTokens:
    """Special tokens of the files: `named` has ids by role, `bos` the BOS's text.

    `explicit`: a tokenizer file names the BOS. `configured`: the BOS id of config.json or generation_config.json, if the tokenizer knows it.
    """

    named: dict[str, int]
    bos: str | None
    explicit: bool
    configured: int | None
    known: dict[str, int]

    def bos_id(self, bos: str | None) -> int | None:
        """Return the id of a BOS text or, without text, of the configs; raises TokenizerMismatchError."""
        if bos in self.known:
            return self.known[bos]
        if not self.explicit:
            return self.configured
        if bos is None:
            return None
        raise TokenizerMismatchError(
            f"The tokenizer's BOS {brief(bos)} is not in its vocabulary.",
            why="The tokenizer's settings name a token that tokenizer.json lacks.",
            cure="Save the tokenizer again with `save_pretrained`, or set bos_token to null in tokenizer_config.json.",
        )


def special_tokens(spec: SubjectSpec, config: Mapping[str, Any], file: TokenizerFile) -> SpecialTokens:
    """Read the special tokens as AutoTokenizer does; raises TokenizerMismatchError.

    Sources: `file` (tokenizer.json), tokenizer_config.json, special_tokens_map.json, both configs, defaults of the class (GPT-2's files name no BOS).
    """
    known = {piece: token for token, piece in file.pieces()} | {added.content: added.id for added in file.added_tokens}
    settings = _optional(spec, "tokenizer_config.json")
    written = dict(settings or {})
    if "added_tokens_decoder" not in written:
        written |= _optional(spec, "special_tokens_map.json") or {}
    texts = TokenizerSettings.of(written)
    ids = _configured(config, _optional(spec, "generation_config.json") or {})
    named = {role: known[text] for role in ROLES if (text := texts.text(role)) is not None and text in known}
    if settings is None:
        named = ids | named
    return SpecialTokens(
        named=named,
        bos=texts.text("bos") if texts.names_bos else _class_bos(typed(Classes, config, "config.json", TokenizerMismatchError, CURE), texts, file),
        explicit=texts.names_bos,
        configured=ids.get("bos") if settings is None or ids.get("bos") in file.special() else None,
        known=known,
    )


def check_bos(bos: int | None, shape: ModelShape) -> int | None:
    """Return the BOS; raises TokenizerMismatchError for one that the subject does not embed."""
    if bos is not None and bos >= shape.vocabulary:
        raise TokenizerMismatchError(
            f"The BOS has id {bos}, the subject embeds {shape.vocabulary}.",
            why="The token was added to the tokenizer after training, without a row in the embedding.",
            cure="Set bos_token to null in tokenizer_config.json and special_tokens_map.json, or to a token that the subject was trained with.",
        )
    return bos


def _optional(spec: SubjectSpec, name: str) -> dict[str, Any] | None:
    with suppress(FileMissingError):
        return read_subject_json(spec, name, TokenizerMismatchError)
    return None


def _configured(config: Mapping[str, Any], generation: Mapping[str, Any]) -> dict[str, int]:
    """Return each role's id from the first file with one, without lists and negative ids."""
    text = typed(Classes, config, "config.json", TokenizerMismatchError, CURE).text_config or {}
    sources = {"config.json": config, "config.json: text_config": text, "generation_config.json": generation}
    places = [
        typed(TokenIds, {"ids": _by_role(content, "token_id")}, source, TokenizerMismatchError, CURE).ids for source, content in sources.items()
    ]
    found = {role: next((token for place in places if (token := place.get(f"{role}_token_id")) is not None), None) for role in ROLES}
    return {role: token for role, token in found.items() if isinstance(token, int) and token >= 0}


def _class_bos(config: Classes, settings: TokenizerSettings, file: TokenizerFile) -> str | None:
    name = tokenizer_class(config.model_type, settings.tokenizer_class or config.tokenizer_class)
    # AutoTokenizer uses the generic class for a LlamaTokenizer with a byte-level tokenizer.json.
    return None if name in GENERIC or (name == "LlamaTokenizer" and file.is_byte_level) else class_bos(name)

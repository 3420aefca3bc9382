"""The special tokens of a subject, from its files alone: which ids they have, and which one leads every row."""

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from interp.errors import FileMissing, TokenizerMismatch
from interp.spec import SubjectSpec
from interp.subject.defaults import GENERIC, class_bos, tokenizer_class
from interp.subject.location import read_subject_json
from interp.subject.shape import ModelShape

ROLES = ("bos", "eos", "pad", "unk", "cls", "sep", "mask")


@dataclass(frozen=True)
class SpecialTokens:
    """What the files say. `named` maps roles to ids; `bos` is the text of the BOS and `explicit` whether a tokenizer file speaks of one.

    `configured` is the BOS id of config.json or generation_config.json, where the tokenizer knows that id as a special token.
    """

    named: dict[str, int]
    bos: str | None
    explicit: bool
    configured: int | None
    known: dict[str, int]

    def bos_id(self, bos: str | None) -> int | None:
        """The id of a BOS text, by default what the configs say. Raises TokenizerMismatch for one that the tokenizer lacks."""
        if bos in self.known:
            return self.known[bos]
        if not self.explicit:
            return self.configured
        if bos is None:
            return None
        raise TokenizerMismatch(
            f"The tokenizer's BOS {bos!r} is not in its vocabulary.",
            why="The tokenizer's settings name a token that tokenizer.json lacks.",
            cure="Save the tokenizer again with `save_pretrained`, or set bos_token to null in tokenizer_config.json.",
        )


def special_tokens(spec: SubjectSpec, config: dict[str, Any], content: dict[str, Any]) -> SpecialTokens:
    """Reads tokenizer_config.json, special_tokens_map.json, config.json and generation_config.json as AutoTokenizer does.

    What they leave out is the default of the tokenizer's class (GPT-2's files name no BOS). `content` is that of tokenizer.json.
    Raises TokenizerMismatch when a file cannot be read.
    """
    known = {piece: token for token, piece in pieces(content["model"]["vocab"])}
    known |= {added["content"]: added["id"] for added in content["added_tokens"]}
    settings, generation = _optional(spec, "tokenizer_config.json"), _optional(spec, "generation_config.json")
    texts = dict(settings or {})
    if "added_tokens_decoder" not in texts:
        texts |= _optional(spec, "special_tokens_map.json") or {}
    special = {added["id"] for added in content["added_tokens"] if added.get("special")}
    ids = {role: token for role in ROLES if (token := _configured(config, generation or {}, role)) is not None}
    named = {role: known[text] for role in ROLES if (text := _text(texts.get(f"{role}_token"))) in known and text is not None}
    if settings is None:
        named = ids | named
    return SpecialTokens(
        named=named,
        bos=_text(texts["bos_token"]) if "bos_token" in texts else _class_bos(config, texts, content),
        explicit="bos_token" in texts,
        configured=ids.get("bos") if settings is None or ids.get("bos") in special else None,
        known=known,
    )


def check_bos(bos: int | None, shape: ModelShape) -> int | None:
    """The BOS. Raises TokenizerMismatch for one that the subject does not embed."""
    if bos is not None and bos >= shape.vocabulary:
        raise TokenizerMismatch(
            f"The BOS has id {bos}, the subject embeds {shape.vocabulary}.",
            why="The token was added to the tokenizer after training, without a row in the embedding.",
            cure="Set bos_token to null in tokenizer_config.json and special_tokens_map.json, or to a token that the subject was trained with.",
        )
    return bos


def pieces(vocab: dict[str, int] | list[list[Any]]) -> Iterator[tuple[int, str]]:
    """(id, piece) of a BPE or WordPiece vocabulary (a mapping) or a Unigram one (a list of piece and score)."""
    if isinstance(vocab, dict):
        return ((token, piece) for piece, token in vocab.items())
    return ((token, piece[0]) for token, piece in enumerate(vocab))


def _optional(spec: SubjectSpec, name: str) -> dict[str, Any] | None:
    with suppress(FileMissing):
        return read_subject_json(spec, name, TokenizerMismatch)
    return None


def _text(token: Any) -> str | None:
    text = token.get("content") if isinstance(token, dict) else token
    return text if isinstance(text, str) else None


def _configured(config: dict[str, Any], generation: dict[str, Any], role: str) -> int | None:
    text = config.get("text_config")
    places = (config, text if isinstance(text, dict) else {}, generation)
    found = next((place[f"{role}_token_id"] for place in places if place.get(f"{role}_token_id") is not None), None)
    return found if isinstance(found, int) and found >= 0 else None


def _class_bos(config: dict[str, Any], settings: dict[str, Any], content: dict[str, Any]) -> str | None:
    model_type, named = config.get("model_type"), settings.get("tokenizer_class") or config.get("tokenizer_class")
    name = tokenizer_class(model_type if isinstance(model_type, str) else None, named if isinstance(named, str) else None)
    byte_level = '"ByteLevel"' in repr(content.get("decoder")).replace("'", '"')
    # AutoTokenizer takes a LlamaTokenizer whose tokenizer.json is byte-level for the generic class.
    return None if name in GENERIC or (name == "LlamaTokenizer" and byte_level) else class_bos(name)

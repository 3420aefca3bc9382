"""Read what requests to the model at hand need, and write their answers."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from api.reads.names import exact, run_name
from api.reads.vocabularies import Vocabularies
from api.schemas.live import (
    ActivationsAnswer,
    ActivationsRequest,
    Address,
    ContinuationAnswer,
    LiveFeature,
    LiveStateAnswer,
    LiveText,
    RankedFeature,
    ReadFeature,
    SteerAnswer,
    SteerRequest,
    TokenFeature,
    WrittenText,
)
from interp.config.settings import Settings
from interp.domain.errors import ConflictError, FeatureOutOfRangeError, InputError
from interp.domain.live import ActivationsWork, SteerWork
from interp.domain.spec import JobSpec
from interp.domain.vocabulary import Vocabulary
from interp.planning.fingerprint import models_key
from interp.store.db.engine import Session
from interp.store.db.tables import DictionaryRow, FeatureRow, RunRow
from interp.store.listings import feature_detail, queries, search
from interp.store.queue import live
from interp.store.queue.live import LiveUnavailableError, LiveWorkers
from interp.store.results import runs

Json = Mapping[str, Any]
NO_WORKER = "no gpu worker is there: start one with `glossator serve` or `glossator worker gpu`"
CLOSED = "the first request opens the model"


@dataclass(frozen=True, slots=True)
class LiveTarget:
    """A dictionary and the run whose models answer."""

    dictionary: DictionaryRow
    run: RunRow
    subject: str

    @property
    def models_key(self) -> str:
        return models_key(self.run.identity)

    def facts(self, reply: Json) -> dict[str, Any]:
        """Return the fields that all answers have."""
        own = {"dictionary": self.dictionary.name, "run": run_name(self.run, self.dictionary), "subject": self.subject}
        return own | {"hook_point": self.dictionary.hook_point, "seconds": reply["seconds"], "opening_seconds": reply["opening_seconds"]}


def target(session: Session, dictionary: str, reference: str | None) -> LiveTarget:
    """Return the run that a request is of; raises NotFoundError, InputError, ConflictError."""
    row = queries.dictionary(session, dictionary)
    run = runs.shown(session, row, reference)
    found = live.models_of(session, run.id) if run.tokens else None
    if found is None:
        raise ConflictError(
            f"{run_name(run, row)} has no model to open.",
            why="Its evidence was imported from records, or its job is gone.",
            cure="Submit a job on the dictionary, and name its run.",
        )
    if JobSpec.model_validate(found.spec).each[found.place].dictionary.directions != "trained":
        raise ConflictError(
            f"{run_name(run, row)} is of random directions.", why="Their biases are kept for their job alone.", cure="Ask the trained dictionary."
        )
    return LiveTarget(row, run, feature_detail.subject_names(session, {row.subject_id})[row.subject_id])


def state(session: Session, settings: Settings, dictionary: str, reference: str | None) -> LiveStateAnswer:
    """Return whether a worker has the models open; raises as `target`."""
    of = target(session, dictionary, reference)
    found = live.workers_of(session, of.models_key, settings.lease_seconds)
    known, waits_for = ("open", None) if found.open else ("closed", CLOSED) if found.alive else ("no-worker", NO_WORKER)
    return LiveStateAnswer(dictionary=of.dictionary.name, run=run_name(of.run, of.dictionary), state=known, workers=found.alive, waits_for=waits_for)


def check_workers(found: LiveWorkers) -> None:
    """Raise LiveUnavailableError where no gpu worker lives."""
    if not found.alive:
        raise LiveUnavailableError(
            "No gpu worker is there to run the model.",
            why="Its heartbeats have ended, or it is just starting.",
            cure="Start one with `glossator serve` or `glossator worker gpu`, and send the request again.",
            waits_for="no-worker",
            seconds=5,
        )


def activations_work(session: Session, of: LiveTarget, asked: ActivationsRequest) -> ActivationsWork:
    """Return the request in feature numbers, with firing levels; raises NotFoundError and FeatureOutOfRangeError."""
    numbers = tuple(dict.fromkeys(number(of, address) for address in asked.features))
    rows = rows_of(session, of, numbers)
    levels = tuple(rows[feature].firing_level if feature in rows else 0.0 for feature in numbers)
    if not (numbers or asked.top_k or asked.per_token):
        raise InputError("Nothing is asked of the texts.", cure="Name features, or set top_k or per_token.")
    return ActivationsWork(texts=asked.texts, against=asked.against, features=numbers, levels=levels, top_k=asked.top_k, per_token=asked.per_token)


def steer_work(session: Session, of: LiveTarget, asked: SteerRequest) -> SteerWork:
    """Return the request in activations of the feature; raises ConflictError without a largest one."""
    feature = number(of, asked.feature)
    row = rows_of(session, of, [feature]).get(feature)
    largest = 0.0 if row is None else row.max_activation
    if asked.unit == "max" and not largest:
        raise ConflictError(
            f"{of.dictionary.feature_name(feature)} has no largest activation in {run_name(of.run, of.dictionary)}.",
            why="It never fires there, or no job has collected it.",
            cure="Give the strength in activations (unit: activation; `glossator steer --unit activation`).",
        )
    strength = asked.strength * (largest if asked.unit == "max" else 1.0)
    return SteerWork(
        prompt=asked.prompt,
        feature=feature,
        strength=strength,
        seeds=asked.seeds,
        max_new_tokens=asked.max_new_tokens,
        temperature=asked.temperature,
    )


def number(of: LiveTarget, written: Address) -> int:
    """Return a feature's number; raises NotFoundError and FeatureOutOfRangeError."""
    return queries.feature_number(of.dictionary, str(written), beyond=FeatureOutOfRangeError)  # a value of a body, and no address


def rows_of(session: Session, of: LiveTarget, features: Iterable[int]) -> dict[int, FeatureRow]:
    """Return the listing rows of some features, by number."""
    found = search.rows_of(session, [(of.run.id, feature) for feature in features])
    return {feature: row for (_, feature), row in found.items()}


def activations_answer(session: Session, vocabularies: Vocabularies, of: LiveTarget, work: ActivationsWork, reply: Json) -> ActivationsAnswer:
    """Return a worker's reply with tokens, names and labels."""
    groups = [*reply["texts"], *reply["against"]]
    ranked = {feature for one in (reply["top"], reply["differences"], *(text["top"] for text in groups)) for feature in one["features"]}
    rows = rows_of(session, of, sorted(ranked | set(work.features)))
    words = _Words(of, rows, vocabularies.of(session, of.dictionary.subject_id), work.features)
    return ActivationsAnswer(
        **of.facts(reply),
        exact=reply["exact"],
        features=[words.feature(feature) for feature in work.features],
        texts=[words.text(text) for text in reply["texts"]],
        against=[words.text(text) for text in reply["against"]],
        top=words.ranked(reply["top"]),
        differences=words.ranked(reply["differences"]),
    )


def steer_answer(session: Session, vocabularies: Vocabularies, of: LiveTarget, work: SteerWork, reply: Json) -> SteerAnswer:
    """Return a worker's reply with texts and the feature's label."""
    vocabulary = vocabularies.of(session, of.dictionary.subject_id)
    words = _Words(of, rows_of(session, of, [work.feature]), vocabulary, ())

    def written(tokens: Sequence[int]) -> WrittenText:
        pieces = vocabulary.texts(tokens)
        return WrittenText(text="".join(pieces), tokens=pieces)

    pairs = [ContinuationAnswer(seed=one["seed"], plain=written(one["plain"]), steered=written(one["steered"])) for one in reply["continuations"]]
    feature, prompt = words.feature(work.feature), vocabulary.texts(reply["prompt"])
    return SteerAnswer(**of.facts(reply), feature=feature, strength=work.strength, prompt=prompt, continuations=pairs)


class _Words:
    """Names and labels of features, and texts of tokens."""

    def __init__(self, of: LiveTarget, rows: Mapping[int, FeatureRow], vocabulary: Vocabulary, asked: Sequence[int]) -> None:
        self._of, self._rows, self._vocabulary, self._asked = of, rows, vocabulary, asked

    def _name(self, feature: int) -> str:
        return self._of.dictionary.feature_name(feature)

    def _known(self, feature: int) -> dict[str, Any]:
        row = self._rows.get(feature)
        figures = ("label", "score", "lift", "density", "max_activation")
        own: dict[str, Any] = dict.fromkeys(figures) if row is None else {name: getattr(row, name) for name in figures}
        return own | {"index": feature, "name": self._name(feature), "firing_level": None if row is None else exact(row.firing_level)}

    def feature(self, feature: int) -> LiveFeature:
        return LiveFeature(**self._known(feature))

    def ranked(self, columns: Json) -> list[RankedFeature]:
        rows = zip(columns["features"], columns["values"], columns["texts"], columns["tokens"], strict=True)
        return [RankedFeature(**self._known(feature), value=value, text=text, token=token) for feature, value, text, token in rows]

    def text(self, text: Json) -> LiveText:
        asked = zip(self._asked, text["activations"], strict=True)
        return LiveText(
            tokens=self._vocabulary.texts(text["tokens"]),
            token_ids=text["tokens"],
            counted=text["counted"],
            rows=text["rows"],
            features=[ReadFeature(index=feature, name=self._name(feature), activations=values) for feature, values in asked],
            top=self.ranked(text["top"]),
            per_token=[self._at_token(columns) for columns in text["per_token"]],
        )

    def _at_token(self, columns: Json) -> list[TokenFeature]:
        pairs = zip(columns["features"], columns["values"], strict=True)
        return [TokenFeature(index=feature, name=self._name(feature), activation=value) for feature, value in pairs]

"""Preflight of a job: all reasons to refuse it by its files, without torch."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

from pydantic import TypeAdapter

from interp.corpus.corpus_files import CorpusListing
from interp.corpus.documents import CorpusIndex, check_splits, empty, index, split_of
from interp.corpus.listing import list_files
from interp.corpus.local_copies import check_start
from interp.dictionary import formats
from interp.dictionary.canonical import DictionaryHeader, StoredDictionary
from interp.dictionary.weights import check_finite
from interp.domain.digests import digest_of
from interp.domain.errors import FeatureOutOfRangeError, InputError, ReadingTooLongError, WidthMismatchError
from interp.domain.job_warnings import JobWarning, of_corpus, of_dictionary, of_row_length
from interp.domain.spec import MOST_PARTS, CorpusSpec, DictionarySpec, JobSpec
from interp.planning.fingerprint import evidence_identity
from interp.planning.subject_weights import check_described, read_headers
from interp.security import allowed_files
from interp.security.allowed_files import Allowance, Roots
from interp.security.sandbox import Task
from interp.subject import hooks
from interp.subject.hooks import HookPoint, ModulePoint, Point
from interp.subject.location import check_folder, read_config, reading, subject_name
from interp.subject.served import backend_for, check_served
from interp.subject.shape import ModelShape
from interp.subject.text.chat_template import read_template
from interp.subject.text.tokenizer import bos_of, check_fit, read_tokenizer
from interp.subject.text.tokenizer_file import TokenizerFile

# Limits of a submission's reading: all of a small corpus, the beginnings of some files of a large one. A worker reads the rest.
READ_BYTES = 4 << 20
READ_FILES = 2000
CHECKED_FILES = 64
CHECKED_REMOTE = 2
# Size of the largest dictionary that a submission converts to check its shapes; a worker converts larger ones.
CONVERTED_NUMBERS = 1 << 24
# Limits of the search for numbers that are not finite; a worker searches all.
FINITE_SECONDS, FINITE_BYTES = 20.0, 16 << 30
# Entries of the corpus' folders that a submission lists.
MOST_ENTRIES = 20_000


@dataclass(frozen=True, slots=True)
class DictionaryFacts:
    """Facts of a dictionary's files, for one job.

    `n_features` is its size, `wanted` the half-open ranges of the job's features. `evidence_id` and `identity` are those of
    `interp.planning.fingerprint.evidence_id`: without an id, and a digest in the identity, where the corpus is not read yet.
    """

    name: str
    n_features: int
    wanted: tuple[tuple[int, int], ...]
    evidence_id: str | None
    identity: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Preflight:
    """A job that can start, and the facts of its files.

    `dictionaries` are in the order of the job. A corpus too large to be read here has no `documents`. `corpus` is a summary of its files, and
    `fingerprint` detects changes of them (None: too many files). `backend` opens the subject.
    """

    dictionaries: tuple[DictionaryFacts, ...]
    backend: str
    documents: int | None
    corpus: dict[str, Any]
    fingerprint: str | None
    warnings: tuple[JobWarning, ...]

    @property
    def n_features(self) -> int:
        """Return the size of all dictionaries together."""
        return sum(of.n_features for of in self.dictionaries)

    @property
    def identity(self) -> dict[str, Any]:
        """Return the first dictionary's identity: a worker with its models has the subject."""
        return self.dictionaries[0].identity


def check(spec: JobSpec, roots: Roots | None = None, allowance: Allowance | None = None) -> Preflight:
    """Check a job by its files inside `roots`, within the limits of `allowance`.

    By default the roots are this process's. Raises the one error that says why the job cannot work:

    - PathRefusedError, NotRegularFileError, ReadingTooLongError, FileMissingError;
    - SubjectError, HookPointUnknownError, TokenizerMismatchError;
    - DictionaryError, DictionaryFormatUnknownError, PickleRefusedError, WeightsNotFiniteError, WidthMismatchError, FeatureOutOfRangeError;
    - CorpusError, CorpusEmptyError, CorpusTooSmallError, TextUndecodableError.
    """
    with allowed_files.within(roots or allowed_files.current()), allowed_files.allowing(allowance):
        return _check(spec.with_random_dictionaries())


def settled(spec: JobSpec, facts: Preflight) -> JobSpec:
    """Return the spec with what the facts decide of it.

    The random-dictionary control is one more of each dictionary. Dictionaries have their names where the random-weights control needs them. Several
    share a subject, and so a backend.
    """
    spec = spec.with_random_dictionaries()
    if "random_weights" in spec.controls:
        names = [one.dictionary.model_copy(update={"name": of.name}) for one, of in zip(spec.each, facts.dictionaries, strict=True)]
        spec = spec.with_dictionaries(names)
    return spec if len(facts.dictionaries) == 1 else _opened_by(spec, facts.backend)


def _opened_by(spec: JobSpec, backend: str) -> JobSpec:
    return spec.model_copy(update={"subject": spec.subject.model_copy(update={"backend": backend})})


def _check(spec: JobSpec) -> Preflight:
    _check_number(spec)
    config = read_config(spec.subject)
    shape = ModelShape.from_config(config)
    tokenizer = read_tokenizer(spec.subject)
    if spec.corpus.chat:
        read_template(spec.subject)
    check_fit(tokenizer, shape)
    bos_of(spec.subject, library=False, file=tokenizer)
    _check_row(spec, shape)
    opened = [formats.read(one.dictionary) for one in spec.each]
    for one, stored in zip(spec.each, opened, strict=True):
        with _naming(one.dictionary, len(opened)):
            _check_dictionary(one, stored, shape)
    _check_together(opened)
    listing = list_files(spec.corpus, MOST_ENTRIES)
    corpus = _read_corpus(spec.corpus, listing)
    check_folder(spec.subject)
    weights = read_headers(spec.subject)
    check_described(shape, weights)
    backend = backend_for(spec.subject, config, hooks.JOIN.join(stored.header.hook_point for stored in opened))
    if len(opened) > 1:
        spec = _opened_by(spec, backend)
    tensors = {name for some in weights.values() for name in some}
    for stored in opened:
        for point in hooks.parse_all(stored.header.hook_point, shape):
            check_served(point, config, spec.subject.backend, tensors)
    # The worker that loads the weights checks the rest.
    with suppress(ReadingTooLongError), allowed_files.allowing(Allowance(FINITE_SECONDS, FINITE_BYTES)):
        for stored in opened:
            check_finite(stored.tensors, stored.header.files[0])
        with reading(spec.subject):
            for path, some in weights.items():
                check_finite(some, path)
    for stored in opened:
        _check_output(stored, shape)
    digest, model = None if corpus is None else corpus.digest, subject_name(spec.subject, config)
    facts = [_facts_of(one, stored.header, digest, model, tokenizer) for one, stored in zip(spec.each, opened, strict=True)]
    _check_distinct(facts)
    trained = [stored.header.context for stored in opened]
    return Preflight(
        dictionaries=tuple(facts),
        backend=backend,
        documents=None if corpus is None else len(corpus.entries),
        corpus=listing.summary(),
        fingerprint=listing.fingerprint,
        warnings=(
            *of_dictionary(_warnings_of(facts, opened)),
            *of_row_length(spec.collection.row_tokens, min((length for length in trained if length is not None), default=None)),
            *(
                of_corpus(listing.left_out, 0, 0, {})
                if corpus is None
                else of_corpus(listing.left_out, corpus.skipped, corpus.broken, corpus.largest())
            ),
        ),
    )


def _facts_of(spec: JobSpec, header: DictionaryHeader, corpus: str | None, model: str, tokenizer: TokenizerFile | None) -> DictionaryFacts:
    identity = evidence_identity(spec, corpus, tokenizer=tokenizer)
    return DictionaryFacts(
        name=formats.dictionary_name(spec.dictionary, header, model),
        n_features=header.n_features,
        wanted=tuple(wanted_ranges(spec, header.n_features)),
        evidence_id=None if corpus is None else digest_of(identity),
        identity=identity,
    )


def _warnings_of(facts: Sequence[DictionaryFacts], readings: Sequence[StoredDictionary]) -> list[str]:
    """Return the warnings of all dictionaries, with their names where there are several."""
    return [
        f"{of.name}: {warning}" if len(facts) > 1 else warning
        for of, reading in zip(facts, readings, strict=True)
        for warning in reading.header.warnings
    ]


@contextmanager
def _naming(dictionary: DictionarySpec, number: int) -> Iterator[None]:
    """Begin an error with the dictionary's name, where the job has several."""
    try:
        yield
    except InputError as error:
        if number == 1:
            raise
        what = f"{dictionary.name or dictionary.source}: {error.what}"
        raise type(error)(what, why=error.why, cure=error.cure, **error.details) from error


def _check_dictionary(spec: JobSpec, reading: StoredDictionary, shape: ModelShape) -> None:
    """Check a dictionary against the subject; raises what `check` raises of it."""
    header = reading.header
    _check_positions(spec, header)
    _check_width(header, hooks.parse_all(header.hook_point, shape), shape)
    hooks.parse_all(header.output_point or header.hook_point, shape)
    wanted_ranges(spec, header.n_features)


def _check_number(spec: JobSpec) -> None:
    """Raise InputError for more dictionaries than a job may have, those of random directions included."""
    if len(spec.each) > MOST_PARTS:
        raise InputError(
            f"The job has {len(spec.each)} dictionaries with those of its control, and {MOST_PARTS} are the most.",
            why="random_dictionary adds one for each.",
            cure="Submit several jobs.",
        )


def _check_distinct(facts: Sequence[DictionaryFacts]) -> None:
    """Raise InputError for a dictionary that the job names twice."""
    for place, of in enumerate(facts):
        same = next((other for other in facts[:place] if other.identity == of.identity), None)
        if same is not None:
            raise InputError(f"The job names {of.name} twice.", why="Both sources hold the same weights.", cure="Leave one of them out.")


def _check_together(readings: Sequence[StoredDictionary]) -> None:
    """Raise InputError for dictionaries that one forward pass cannot feed."""
    first, *others = (reading.header.positions for reading in readings)
    if any(positions != first for positions in others):
        raise InputError(
            "The job's dictionaries count at different positions.",
            why="One forward pass feeds them all: BOS, positions and excluded tokens must be the same.",
            cure="Submit a job for each group of dictionaries with the same.",
        )


def _read_corpus(spec: CorpusSpec, listing: CorpusListing) -> CorpusIndex | None:
    """Return a small corpus, checked; check a few beginnings of a large one (None).

    Raises CorpusEmptyError, CorpusError, CorpusTooSmallError, TextUndecodableError.
    """
    if listing.complete and not listing.files:
        raise empty(spec)
    needs_copy = any(file.needs_copy for file in listing.files)
    if listing.complete and listing.nbytes <= READ_BYTES and len(listing.files) <= READ_FILES and not needs_copy:
        corpus = index(spec, listing)
        check_splits([split_of(entry.id, spec.test_share) for entry in corpus.entries], spec)
        return corpus
    step = -(-len(listing.files) // (CHECKED_REMOTE if listing.is_remote else CHECKED_FILES)) or 1
    for file in listing.files[::step]:
        check_start(file, spec, READ_BYTES // CHECKED_FILES)
    return None


def _check_row(spec: JobSpec, shape: ModelShape) -> None:
    if spec.collection.row_tokens > shape.context:
        raise InputError(
            f"Rows of {spec.collection.row_tokens} tokens are longer than the subject's context of {shape.context}.",
            why="The subject has never seen such positions.",
            cure=f"Set collection.row_tokens to {shape.context} or less.",
        )


def _check_positions(spec: JobSpec, header: DictionaryHeader) -> None:
    rows = spec.collection.row_tokens
    if not header.positions.mask(rows, rows)[1 if header.positions.prepend_bos else 0 :].any():
        raise InputError(
            f"The dictionary counts at no position of rows of {rows} tokens.",
            why=f"Its seqpos_slice is {header.positions.identity()['seqpos_slice']}.",
            cure="Set collection.row_tokens to the context that it was trained with.",
        )


def _check_width(header: DictionaryHeader, points: tuple[Point, ...], shape: ModelShape) -> None:
    d_in = sum(point.d_in(shape) for point in points)
    # The opened model alone knows how wide a module's tensors are.
    if header.d_in == d_in or any(isinstance(point, ModulePoint) for point in points):
        return
    each, rest = divmod(header.d_in, len(points))
    fitting = sorted({site for site in hooks.SITES if not rest and HookPoint(0, site).d_in(shape) == each})
    raise WidthMismatchError(
        f"The dictionary reads {header.d_in} numbers, the subject has {d_in} at {header.hook_point}.",
        why="They belong to different models or hook points.",
        cure=f"{each} wide there: {', '.join(fitting)}." if fitting else "Use the subject that the dictionary was trained on.",
        dictionary=header.d_in,
        subject=d_in,
    )


def _check_output(reading: StoredDictionary, shape: ModelShape) -> None:
    if reading.numbers > CONVERTED_NUMBERS:
        return
    header, d_out = reading.header, reading.canonical().W_dec.shape[1]
    points = hooks.parse_all(header.output_point or header.hook_point, shape)
    width = sum(point.d_in(shape) for point in points)
    if d_out != width and not any(isinstance(point, ModulePoint) for point in points):
        raise WidthMismatchError(
            f"The dictionary writes {d_out} numbers, the subject has {width} at {header.output_point or header.hook_point}.",
            why="They belong to different models or hook points.",
            cure="Use the subject that the dictionary was trained on.",
            dictionary=d_out,
            subject=width,
        )


def wanted_ranges(spec: JobSpec, n_features: int) -> list[tuple[int, int]]:
    """Return the half-open ranges of a job's features, of both signs if asked; raises FeatureOutOfRangeError."""
    each = n_features // spec.dictionary.sides
    ranges = spec.feature_ranges() or [(0, each)]
    if ranges[-1][1] > each:
        raise FeatureOutOfRangeError(
            f"Feature {ranges[-1][1] - 1} is asked for, the dictionary has {each}.",
            why="Features are counted from 0.",
            cure=f"Ask for features up to {each - 1}.",
            features=each,
        )
    return [(start + side * each, stop + side * each) for side in range(spec.dictionary.sides) for start, stop in ranges]


@dataclass(frozen=True, slots=True)
class PreflightRequest:
    """A job with absolute paths, its allowed roots, and limits on time and bytes."""

    spec: JobSpec
    roots: Roots
    seconds: float
    nbytes: int


def _run(request: PreflightRequest) -> Preflight:
    return check(request.spec, request.roots, Allowance(request.seconds, request.nbytes))


CHECK = Task("interp.planning.preflight:CHECK", _run, TypeAdapter(PreflightRequest), TypeAdapter(Preflight))

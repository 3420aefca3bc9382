"""Preflight of a job: all reasons to refuse it by its files, without torch."""

from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from pydantic import TypeAdapter

from interp.corpus.corpus_files import CorpusListing
from interp.corpus.documents import CorpusIndex, check_splits, empty, index, split_of
from interp.corpus.listing import list_files
from interp.corpus.local_copies import check_start
from interp.dictionary import formats
from interp.dictionary.canonical import DictionaryHeader
from interp.dictionary.weights import check_finite
from interp.domain.digests import digest_of
from interp.domain.errors import FeatureOutOfRangeError, InputError, ReadingTooLongError, WidthMismatchError
from interp.domain.job_warnings import JobWarning, of_corpus, of_dictionary, of_row_length
from interp.domain.spec import CorpusSpec, JobSpec
from interp.planning.fingerprint import evidence_identity
from interp.planning.subject_weights import check_described, read_headers
from interp.security import allowed_files
from interp.security.allowed_files import Allowance, Roots
from interp.security.sandbox import Task
from interp.subject import hooks
from interp.subject.hooks import HookPoint, ModulePoint, Point
from interp.subject.location import check_folder, read_config, subject_name
from interp.subject.served import check_served
from interp.subject.shape import ModelShape
from interp.subject.text.chat_template import read_template
from interp.subject.text.tokenizer import bos_of, check_fit, read_tokenizer

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
class Preflight:
    """A job that can start, and the facts of its files.

    `n_features` is the dictionary's size, `wanted` the half-open ranges of the job's features. `evidence_id` and `identity` are those of
    `interp.planning.fingerprint.evidence_id`. A corpus too large to be read here has no `documents`, no id yet, and no digest in the identity.
    `corpus` is a summary of its files, and `fingerprint` detects changes of them (None: too many files).
    """

    n_features: int
    wanted: tuple[tuple[int, int], ...]
    dictionary_name: str
    documents: int | None
    evidence_id: str | None
    identity: dict[str, Any]
    corpus: dict[str, Any]
    fingerprint: str | None
    warnings: tuple[JobWarning, ...]


def check(spec: JobSpec, roots: Roots | None = None, allowance: Allowance | None = None) -> Preflight:
    """Check a job by its files inside `roots`, within the limits of `allowance`.

    By default the roots are this process's. Raises the one error that says why the job cannot work:

    - PathRefusedError, NotRegularFileError, ReadingTooLongError, FileMissingError;
    - SubjectError, HookPointUnknownError, TokenizerMismatchError;
    - DictionaryError, DictionaryFormatUnknownError, PickleRefusedError, WeightsNotFiniteError, WidthMismatchError, FeatureOutOfRangeError;
    - CorpusError, CorpusEmptyError, CorpusTooSmallError, TextUndecodableError.
    """
    with allowed_files.within(roots or allowed_files.current()), allowed_files.allowing(allowance):
        return _check(spec)


def named(spec: JobSpec, facts: Preflight) -> JobSpec:
    """Return the spec with its dictionary's name, which the random-weights control needs."""
    if "random_weights" not in spec.controls:
        return spec
    return spec.model_copy(update={"dictionary": spec.dictionary.model_copy(update={"name": facts.dictionary_name})})


def _check(spec: JobSpec) -> Preflight:
    config = read_config(spec.subject)
    shape = ModelShape.from_config(config)
    tokenizer = read_tokenizer(spec.subject)
    if spec.corpus.chat:
        read_template(spec.subject)
    check_fit(tokenizer, shape)
    bos_of(spec.subject, library=False, file=tokenizer)
    _check_row(spec, shape)
    reading = formats.read(spec.dictionary)
    header = reading.header
    _check_positions(spec, header)
    points = hooks.parse_all(header.hook_point, shape)
    _check_width(header, points, shape)
    written = hooks.parse_all(header.output_point or header.hook_point, shape)
    wanted = tuple(wanted_ranges(spec, header.n_features))
    listing = list_files(spec.corpus, MOST_ENTRIES)
    corpus = _read_corpus(spec.corpus, listing)
    check_folder(spec.subject)
    weights = read_headers(spec.subject)
    check_described(shape, weights)
    for point in points:
        check_served(point, config, spec.subject.backend, {name for tensors in weights.values() for name in tensors})
    # The worker that loads the weights checks the rest.
    with suppress(ReadingTooLongError), allowed_files.allowing(Allowance(FINITE_SECONDS, FINITE_BYTES)):
        check_finite(reading.tensors, header.files[0])
        for path, tensors in weights.items():
            check_finite(tensors, path)
    if reading.numbers <= CONVERTED_NUMBERS:
        _check_output(header, reading.canonical().W_dec.shape[1], written, shape)
    identity = evidence_identity(spec, None if corpus is None else corpus.digest, tokenizer=tokenizer)
    return Preflight(
        n_features=header.n_features,
        wanted=wanted,
        dictionary_name=formats.dictionary_name(spec.dictionary, header, subject_name(spec.subject, config)),
        documents=None if corpus is None else len(corpus.entries),
        evidence_id=None if corpus is None else digest_of(identity),
        identity=identity,
        corpus=listing.summary(),
        fingerprint=listing.fingerprint,
        warnings=(
            *of_dictionary(header.warnings),
            *of_row_length(spec.collection.row_tokens, header.context),
            *(
                of_corpus(listing.left_out, 0, 0, {})
                if corpus is None
                else of_corpus(listing.left_out, corpus.skipped, corpus.broken, corpus.largest())
            ),
        ),
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


def _check_output(header: DictionaryHeader, d_out: int, points: tuple[Point, ...], shape: ModelShape) -> None:
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

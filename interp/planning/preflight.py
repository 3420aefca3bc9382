"""Everything that a job can be refused for before any work starts, found from files alone: no model is opened, torch is not needed."""

from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from interp.corpus.corpus_files import CorpusListing, list_files
from interp.corpus.documents import CorpusIndex, check_splits, check_start, empty, index, split_of
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
from interp.subject import hooks
from interp.subject.hooks import HookPoint
from interp.subject.location import check_folder, read_config, subject_name
from interp.subject.shape import ModelShape
from interp.subject.tokenizer import bos_of, check_fit, read_tokenizer

# What submission reads of a corpus at most: all of a small one, the beginnings of some files of a large one. The rest is read by a worker.
READ_BYTES = 4 << 20
READ_FILES = 2000
CHECKED_FILES = 64
# Numbers of a dictionary that submission converts, to see that they go together; of a larger one a worker does.
CONVERTED_NUMBERS = 1 << 24
# How long, and through how many bytes, submission looks for numbers that are not finite; a worker looks at all.
FINITE_SECONDS, FINITE_BYTES = 20.0, 16 << 30
# Entries of the corpus' folders that submission looks at.
MOST_ENTRIES = 20_000


@dataclass(frozen=True, slots=True)
class Preflight:
    """A job that can start, and what its files already say.

    `n_features` is the dictionary's size, `wanted` the half-open ranges of it that the job asks for. `evidence_id` and `identity` are those of
    `interp.planning.fingerprint.evidence_id`. A corpus too large to be read here has no `documents`, no id yet, and no digest in the identity.
    `corpus` sums up the files that will be read, and `fingerprint` tells whether they change (None: too many to look at).
    """

    n_features: int
    wanted: tuple[tuple[int, int], ...]
    d_in: int
    hook_point: str
    dictionary_name: str
    architecture: str
    format: str
    subject_name: str
    documents: int | None
    evidence_id: str | None
    identity: dict[str, Any]
    corpus: dict[str, Any]
    fingerprint: str | None
    warnings: tuple[JobWarning, ...]


def check(spec: JobSpec, roots: Roots | None = None, allowance: Allowance | None = None) -> Preflight:
    """Checks a job by its files, of which only those inside `roots` (by default this process's) are read, and as much as `allowance` lets.

    Raises the one error that says why the job cannot work: PathRefused, NotRegularFile, ReadingTooLong, FileMissing, SubjectError,
    HookPointUnknown, TokenizerMismatch, DictionaryError, DictionaryFormatUnknown, PickleRefused, WeightsNotFinite, WidthMismatch,
    FeatureOutOfRange, CorpusError, CorpusEmpty, CorpusTooSmall, TextUndecodable.
    """
    with allowed_files.within(roots or allowed_files.current()), allowed_files.allowing(allowance):
        return _check(spec)


def named(spec: JobSpec, facts: Preflight) -> JobSpec:
    """The spec with its dictionary's name written out where another job's is made of it: the random-weights control's."""
    if "random_weights" not in spec.controls:
        return spec
    return spec.model_copy(update={"dictionary": spec.dictionary.model_copy(update={"name": facts.dictionary_name})})


def _check(spec: JobSpec) -> Preflight:
    config = read_config(spec.subject)
    shape = ModelShape.from_config(config)
    tokenizer = read_tokenizer(spec.subject)
    check_fit(tokenizer, shape)
    bos_of(spec.subject, library=False, file=tokenizer)
    _check_row(spec, shape)
    reading = formats.read(spec.dictionary)
    header = reading.header
    _check_positions(spec, header)
    point = hooks.parse(header.hook_point, shape)
    _check_width(header, point, shape)
    wanted = _wanted(spec, header)
    listing = list_files(spec.corpus, MOST_ENTRIES)
    corpus = _read_corpus(spec.corpus, listing)
    check_folder(spec.subject)
    weights = read_headers(spec.subject)
    check_described(shape, weights)
    # Numbers beyond this are looked at by the worker that loads them.
    with suppress(ReadingTooLongError), allowed_files.allowing(Allowance(FINITE_SECONDS, FINITE_BYTES)):
        check_finite(reading.tensors, header.files[0])
        for path, tensors in weights.items():
            check_finite(tensors, path)
    if reading.numbers <= CONVERTED_NUMBERS:
        reading.canonical()
    name = subject_name(spec.subject, config)
    identity = evidence_identity(spec, None if corpus is None else corpus.digest, tokenizer=tokenizer)
    return Preflight(
        n_features=header.n_features,
        wanted=wanted,
        d_in=header.d_in,
        hook_point=point.name,
        dictionary_name=formats.dictionary_name(spec.dictionary, header, name),
        architecture=header.architecture,
        format=header.format,
        subject_name=name,
        documents=None if corpus is None else len(corpus.entries),
        evidence_id=None if corpus is None else digest_of(identity),
        identity=identity,
        corpus=listing.summary(),
        fingerprint=listing.fingerprint,
        warnings=(
            *of_dictionary(header.warnings),
            *of_row_length(spec.collection.row_tokens, header.context),
            *of_corpus(listing.left_out, 0 if corpus is None else corpus.skipped, {} if corpus is None else corpus.largest()),
        ),
    )


def _read_corpus(spec: CorpusSpec, listing: CorpusListing) -> CorpusIndex | None:
    """A small corpus, read and checked whole; of a large one the beginnings of some files are checked, and None is returned.

    Raises CorpusEmpty, CorpusError, CorpusTooSmall, TextUndecodable.
    """
    if listing.complete and not listing.files:
        raise empty(spec)
    if listing.complete and listing.nbytes <= READ_BYTES and len(listing.files) <= READ_FILES:
        corpus = index(spec, listing)
        check_splits([split_of(entry.id, spec.test_share) for entry in corpus.entries], spec)
        return corpus
    step = -(-len(listing.files) // CHECKED_FILES) or 1
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


def _check_width(header: DictionaryHeader, point: HookPoint, shape: ModelShape) -> None:
    d_in = point.d_in(shape)
    if header.d_in == d_in:
        return
    fitting = sorted({site for site in hooks.SITES if HookPoint(point.layer, site).d_in(shape) == header.d_in})
    raise WidthMismatchError(
        f"The dictionary reads {header.d_in} numbers, the subject has {d_in} at {point.name}.",
        why="They belong to different models or hook points.",
        cure=f"{header.d_in} wide there: {', '.join(fitting)}." if fitting else "Use the subject that the dictionary was trained on.",
        dictionary=header.d_in,
        subject=d_in,
    )


def _wanted(spec: JobSpec, header: DictionaryHeader) -> tuple[tuple[int, int], ...]:
    ranges = spec.feature_ranges() or [(0, header.n_features)]
    if ranges[-1][1] > header.n_features:
        raise FeatureOutOfRangeError(
            f"Feature {ranges[-1][1] - 1} is asked for, the dictionary has {header.n_features}.",
            why="Features are counted from 0.",
            cure=f"Ask for features up to {header.n_features - 1}.",
            features=header.n_features,
        )
    return tuple(ranges)

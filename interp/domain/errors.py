"""The tree of errors. Each says what happened, why, and what to do about it."""

from collections.abc import Iterator
from functools import cache
from typing import Any, ClassVar, Self, TypeVar

Value = TypeVar("Value")


def printable(value: Value) -> Value:
    """The value with lone surrogates (names of files that are no UTF-8, halves of characters in JSON) written as escapes, in texts at any depth.

    They have no UTF-8 form, so that no answer, log or database could hold them.
    """
    clean: Any = value
    if isinstance(value, str):
        clean = value if value.isascii() else value.encode("utf-8", "backslashreplace").decode("utf-8")
    elif isinstance(value, dict):
        clean = {printable(name): printable(item) for name, item in value.items()}
    elif isinstance(value, list):
        clean = [printable(item) for item in value]
    elif isinstance(value, tuple):
        clean = tuple(printable(item) for item in value)
    cleaned: Value = clean
    return cleaned


class GlossatorError(Exception):
    """Base of every error raised on purpose.

    `code` is stable and machine-readable, `status` the HTTP status it maps to, `details` goes into the problem document.
    """

    code: ClassVar[str] = "internal"
    status: ClassVar[int] = 500
    title: ClassVar[str] = "Internal error"
    # How a command ends with it. 2: something is wrong with the installation, and said in one line.
    exit_status: int = 1

    def __init__(self, what: str, *, why: str = "", cure: str = "", **details: Any) -> None:
        self.what, self.why, self.cure, self.details = printable(what), printable(why), printable(cure), printable(details)
        super().__init__(" ".join(part for part in (self.what, self.why, self.cure) if part))


class InputError(GlossatorError):
    """What the user gave cannot work, and no retry changes that."""

    code, status, title = "invalid-input", 422, "Invalid input"


class FileMissingError(InputError):
    code, title = "file-missing", "File not found"


class PathRefusedError(InputError):
    """A path that leads out of the allowed roots. Whether anything is there is not said."""

    code, title = "path-refused", "The path is not one that jobs may read"


class NotRegularFileError(InputError):
    """A named pipe, a socket or a device in the place of a file."""

    code, title = "not-a-regular-file", "Not a regular file"


class ReadingTooLongError(InputError):
    """A job's files are larger or slower than a submission may read."""

    code, title = "reading-too-long", "The job's files take too long to check"


class SubjectError(InputError):
    code, title = "subject-invalid", "The subject cannot be opened"


class HookPointUnknownError(SubjectError):
    code, title = "hook-point-unknown", "Unknown hook point"


class StreamDiffersError(SubjectError):
    """A backend's tensors are not those of the model's own residual stream."""

    code, title = "stream-differs", "The backend reads another residual stream"


class TokenizerMismatchError(SubjectError):
    code, title = "tokenizer-mismatch", "The tokenizer does not fit the subject"


class DictionaryError(InputError):
    code, title = "dictionary-invalid", "The dictionary cannot be opened"


class DictionaryFormatUnknownError(DictionaryError):
    code, title = "dictionary-format-unknown", "Unknown dictionary format"


class PickleRefusedError(DictionaryError):
    code, title = "pickle-refused", "The weights file would run code"


class WeightsNotFiniteError(InputError):
    """In the dictionary's files or the subject's."""

    code, title = "weights-not-finite", "NaN or infinity in weights"


class WidthMismatchError(DictionaryError):
    code, title = "width-mismatch", "The dictionary's width is not the subject's"


class FeatureOutOfRangeError(InputError):
    code, title = "feature-out-of-range", "Feature index out of range"


class WorkerTooSmallError(InputError):
    """What a gpu worker may use does not hold the models and a share of their features."""

    code, title = "worker-too-small", "The workers have too little memory"


class CorpusError(InputError):
    code, title = "corpus-invalid", "The corpus cannot be used"


class CorpusEmptyError(CorpusError):
    code, title = "corpus-empty", "The corpus is empty"


class CorpusTooSmallError(CorpusError):
    code, title = "corpus-too-small", "The corpus is too small for two splits"


class CorpusChangedError(CorpusError):
    """Somebody wrote to the corpus while it was read."""

    code, title = "corpus-changed", "The corpus changed while it was read"


class TextUndecodableError(CorpusError):
    code, title = "text-undecodable", "A document is not readable text"


class FilesTakeTooMuchError(InputError):
    """Files that cannot be looked at within the memory or the time that the settings give to that."""

    code, title = "files-take-too-much", "The files take too much to look at"


class WebhookRefusedError(InputError):
    """Webhooks go to public addresses alone, unless the server's settings say otherwise: a receiver is named by a user, and asked by the server."""

    code, title = "webhook-refused", "The webhook's receiver cannot be used"


class SettingsInvalidError(InputError):
    """A `GLOSSATOR_...` variable of the environment has a value that cannot be used, or a name that nothing reads."""

    code, title = "settings-invalid", "The settings cannot be used"
    exit_status = 2


class NotFoundError(GlossatorError):
    code, status, title = "not-found", 404, "Not found"


class ConflictError(GlossatorError):
    code, status, title = "conflict", 409, "Conflict with the present state"


class ActivationsNotFiniteError(GlossatorError):
    """NaN or infinity came out of the subject or the dictionary: retrying gives the same."""

    code, title = "activations-not-finite", "NaN or infinity in activations"


class DiskFullError(GlossatorError):
    code, status, title = "disk-full", 507, "No space left on disk"
    exit_status = 2


class ArtifactsUnreachableError(GlossatorError):
    """The store of files that workers hand to one another cannot be opened, or not be written to."""

    code, status, title = "artifacts-unreachable", 503, "The artifact store cannot be used"
    exit_status = 2


class ArtifactMissingError(GlossatorError):
    code, title = "artifact-missing", "A file of an earlier stage is gone"


class BlobCorruptError(GlossatorError):
    code, title = "blob-corrupt", "Stored evidence cannot be read"


class LeaseLostError(GlossatorError):
    """Somebody else owns the chunk now, or its job has ended: nothing of the work may be written. Never shown to a user."""

    code, title = "lease-lost", "The lease is gone"


class WorkInterruptedError(GlossatorError):
    """Work stops between batches: its lease is gone or its job was cancelled. Never shown to a user."""

    code, title = "interrupted", "Work was interrupted"


class ServerUnreachableError(GlossatorError):
    code, status, title = "server-unreachable", 503, "No server answers"
    exit_status = 2


class DatabaseUnfitError(GlossatorError):
    """A database that would not hold what is written to it."""

    code, status, title = "database-unfit", 503, "The database cannot be used"
    exit_status = 2


class DatabaseUnreachableError(GlossatorError):
    """The database's server does not answer, or its file cannot be opened. What is stored is not lost: asking again helps once it is back."""

    code, status, title = "database-unreachable", 503, "The database does not answer"
    exit_status = 2


class BrokerUnreachableError(GlossatorError):
    """The broker that the settings name cannot be used. Processes that run already outlive it; one that is being started says so and ends."""

    code, status, title = "broker-unreachable", 503, "The broker does not answer"
    exit_status = 2


class HomeUnusableError(GlossatorError):
    """The service's folder is no folder, or this user may not use it."""

    code, status, title = "home-unusable", 503, "The home cannot be used"
    exit_status = 2


class HomeTakenError(GlossatorError):
    """Another server uses the home: two would tread on each other's workers and database."""

    code, status, title = "home-taken", 409, "Another server uses the home"
    exit_status = 2


class ServerMissingError(GlossatorError):
    """A program that this machine has not."""

    code, status, title = "server-missing", 503, "A server is not installed"
    exit_status = 2


class ChecksBusyError(GlossatorError):
    """No process is free to look at a job's files. Asking again helps."""

    code, status, title = "checks-busy", 503, "Too many jobs are being looked at"


class LlmError(GlossatorError):
    """Something between us and a language model."""

    code, status, title = "llm-error", 502, "The language model did not answer"

    def copy(self) -> Self:
        """Return an equal error: one instance raised in many tasks would gather their tracebacks and details."""
        return type(self)(self.what, why=self.why, cure=self.cure, **self.details)


class CallFailedError(LlmError):
    """One question has no answer, and asking again would not change that: the item fails with this reason, and the job goes on."""

    code, title = "call-failed", "A call failed"


class RefusalError(CallFailedError):
    code, title = "refused-by-model", "The model refused to answer"


class ReplyTruncatedError(CallFailedError):
    code, title = "reply-truncated", "The reply was cut short"


class ReplyInvalidError(CallFailedError):
    """What came back cannot be read as an answer, after a repair turn and fresh tries."""

    code, title = "reply-invalid", "The reply cannot be read"


class ReplyTooLargeError(CallFailedError):
    """More came than the question can need: it is not read to its end."""

    code, title = "reply-too-large", "The reply is too large"


class PromptTooLongError(CallFailedError):
    code, status, title = "prompt-too-long", 422, "The prompt is longer than the model's window"


class CallRejectedError(CallFailedError):
    """The endpoint calls the request itself wrong (HTTP 400 and its kin)."""

    code, title = "call-rejected", "The endpoint rejected the request"


class JobPausedError(LlmError):
    """No call of the job can go on: it pauses with this reason and can be resumed. At submission the same error refuses the job."""

    code, status, title = "job-paused", 409, "The job is paused"


class BudgetReachedError(JobPausedError):
    code, title = "budget-reached", "The budget is reached"


class EndpointUnreachableError(JobPausedError):
    code, status, title = "endpoint-unreachable", 422, "The endpoint does not answer"


class EndpointRefusedError(JobPausedError):
    """Prompts go to the endpoints that the server's settings list, at public addresses or where a private one is named."""

    code, status, title = "endpoint-refused", 422, "The endpoint may not be asked"


class KeyRefusedError(JobPausedError):
    code, status, title = "key-refused", 422, "The endpoint refuses the key"


class ModelUnknownError(JobPausedError):
    code, status, title = "model-unknown", 422, "The endpoint has no such model"


class AbilityMissingError(JobPausedError):
    """A scorer needs what the model or its endpoint lacks: log-probs, log-probs of the prompt, embeddings."""

    code, status, title = "ability-missing", 422, "The model lacks what the scorer needs"


class QuotaExhaustedError(JobPausedError):
    code, title = "quota-exhausted", "The account's quota is used up"


class PriceUnknownError(JobPausedError):
    code, status, title = "price-unknown", 422, "Nobody knows the model's price"


@cache
def installation_codes() -> frozenset[str]:
    """The codes of errors with which a command ends as with a fault of the installation."""

    def below(kind: type[GlossatorError]) -> Iterator[type[GlossatorError]]:
        yield kind
        for child in kind.__subclasses__():
            yield from below(child)

    return frozenset(kind.code for kind in below(GlossatorError) if kind.exit_status == 2)


def problem_of(error: BaseException) -> dict[str, Any]:
    """The error as an RFC 9457 problem document: what jobs and chunks keep, and what the API answers (with the request as `instance`).

    `type` is a relative reference that the API answers with an explanation. An error that nobody raised on purpose says its type and message
    alone; its traceback belongs in the log and on the chunk.
    """
    kind = error if isinstance(error, GlossatorError) else GlossatorError(f"{type(error).__name__}: {error}")
    problem = {"type": f"/problems/{kind.code}", "title": kind.title, "status": kind.status, "code": kind.code, "detail": kind.what}
    optional = {"why": kind.why, "cure": kind.cure, "details": kind.details}
    return problem | {name: value for name, value in optional.items() if value}

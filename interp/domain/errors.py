"""Errors that are raised on purpose; each says what happened, why, and the cure."""

from collections.abc import Iterator
from functools import cache
from typing import Any, ClassVar, Self, TypeVar

Value = TypeVar("Value")


def printable(value: Value) -> Value:
    """Escape lone surrogates in texts at any depth; answers, logs and databases cannot store them."""
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
    """Base of all errors that are raised on purpose.

    `code` is stable and machine-readable, `status` the HTTP status, `details` a part of the problem document.
    """

    code: ClassVar[str] = "internal"
    status: ClassVar[int] = 500
    title: ClassVar[str] = "Internal error"
    # Status of the command line. 2: a fault of the installation, printed in one line.
    exit_status: int = 1

    def __init_subclass__(cls, *, code: str = "", status: int = 0, title: str = "", exit_status: int = 0) -> None:
        """Set the attributes that the class statement gives; the others are inherited."""
        super().__init_subclass__()
        cls.code, cls.status, cls.title = code or cls.code, status or cls.status, title or cls.title
        cls.exit_status = exit_status or cls.exit_status

    def __init__(self, what: str, *, why: str = "", cure: str = "", **details: Any) -> None:
        self.what, self.why, self.cure, self.details = printable(what), printable(why), printable(cure), printable(details)
        super().__init__(" ".join(part for part in (self.what, self.why, self.cure) if part))


class InputError(GlossatorError, code="invalid-input", status=422, title="Invalid input"):
    """Input that cannot work; a retry gives the same error."""


class FileMissingError(InputError, code="file-missing", title="File not found"): ...


class PathRefusedError(InputError, code="path-refused", title="The path is not one that jobs may read"):
    """A path outside the allowed roots, whether it exists or not."""


class NotRegularFileError(InputError, code="not-a-regular-file", title="Not a regular file"):
    """A named pipe, a socket or a device where a file is expected."""


class ReadingTooLongError(InputError, code="reading-too-long", title="The job's files take too long to check"):
    """A job's files that are larger or slower than the limits of a submission."""


class SubjectError(InputError, code="subject-invalid", title="The subject cannot be opened"): ...


class HookPointUnknownError(SubjectError, code="hook-point-unknown", title="Unknown hook point"): ...


class StreamDiffersError(SubjectError, code="stream-differs", title="The backend reads another residual stream"):
    """A backend's tensors are not those of the model's own residual stream."""


class TokenizerMismatchError(SubjectError, code="tokenizer-mismatch", title="The tokenizer does not fit the subject"): ...


class DictionaryError(InputError, code="dictionary-invalid", title="The dictionary cannot be opened"): ...


class DictionaryFormatUnknownError(DictionaryError, code="dictionary-format-unknown", title="Unknown dictionary format"): ...


class PickleRefusedError(DictionaryError, code="pickle-refused", title="The weights file would run code"): ...


class WeightsNotFiniteError(InputError, code="weights-not-finite", title="NaN or infinity in weights"):
    """NaN or infinity in the files of the dictionary or the subject."""


class WidthMismatchError(DictionaryError, code="width-mismatch", title="The dictionary's width is not the subject's"): ...


class FeatureOutOfRangeError(InputError, code="feature-out-of-range", title="Feature index out of range"): ...


class WorkerTooSmallError(InputError, code="worker-too-small", title="The workers have too little memory"):
    """A gpu worker's memory does not hold the models and some of their features."""


class CorpusError(InputError, code="corpus-invalid", title="The corpus cannot be used"): ...


class CorpusEmptyError(CorpusError, code="corpus-empty", title="The corpus is empty"): ...


class CorpusTooSmallError(CorpusError, code="corpus-too-small", title="The corpus is too small for two splits"): ...


class CorpusChangedError(CorpusError, code="corpus-changed", title="The corpus changed while it was read"):
    """A file of the corpus that was written to while it was read."""


class TextUndecodableError(CorpusError, code="text-undecodable", title="A document is not readable text"): ...


class FilesTakeTooMuchError(InputError, code="files-take-too-much", title="The files take too much to look at"):
    """Files whose check exceeds the memory or the time of the settings."""


class UploadInvalidError(InputError, code="upload-invalid", title="The upload cannot be used"):
    """An archive that is damaged, or holds links, devices, bad names or too many files."""


class UploadTooLargeError(InputError, code="upload-too-large", status=413, title="The upload is too large"):
    """A file or archive beyond GLOSSATOR_UPLOAD_MAX_BYTES, packed or unpacked."""


class WebhookRefusedError(InputError, code="webhook-refused", title="The webhook's receiver cannot be used"):
    """A receiver at an address that is not public and not allowed by the settings."""


class SettingsInvalidError(InputError, code="settings-invalid", title="The settings cannot be used", exit_status=2):
    """A `GLOSSATOR_...` environment variable with an invalid value or an unknown name."""


class NotFoundError(GlossatorError, code="not-found", status=404, title="Not found"): ...


class UploadQuotaError(GlossatorError, code="upload-quota", status=429, title="The quota of uploads is used up"):
    """The owner's uploads have as many bytes as GLOSSATOR_UPLOADS_OWNER_MAX_BYTES allows."""


class UploadsFullError(GlossatorError, code="uploads-full", status=507, title="No room for uploads"):
    """All uploads together have as many bytes as GLOSSATOR_UPLOADS_TOTAL_MAX_BYTES allows."""


class UploadsBusyError(GlossatorError, code="uploads-busy", status=503, title="Too many uploads at once"): ...


class ExportsBusyError(GlossatorError, code="exports-busy", status=429, title="Too many exports are waiting"):
    """The owner has as many exports that are not finished as one may have."""


class ExportGoneError(GlossatorError, code="export-gone", status=410, title="The export is gone"):
    """Its file was deleted after its time, or is not in this server's artifact store."""


class RangeInvalidError(GlossatorError, code="range-invalid", status=416, title="The range lies outside the file"): ...


class ConflictError(GlossatorError, code="conflict", status=409, title="Conflict with the present state"): ...


class ActivationsNotFiniteError(GlossatorError, code="activations-not-finite", title="NaN or infinity in activations"):
    """NaN or infinity in the output of subject or dictionary; a retry gives the same."""


class DiskFullError(GlossatorError, code="disk-full", status=507, title="No space left on disk", exit_status=2): ...


class ArtifactsUnreachableError(GlossatorError, code="artifacts-unreachable", status=503, title="The artifact store cannot be used", exit_status=2):
    """An artifact store that cannot be opened or written to."""


class ArtifactMissingError(GlossatorError, code="artifact-missing", title="A file of an earlier stage is gone"): ...


class BlobCorruptError(GlossatorError, code="blob-corrupt", title="Stored evidence cannot be read"): ...


class LeaseLostError(GlossatorError, code="lease-lost", title="The lease is gone"):
    """The worker's lease has ended, so it may write no result; never shown to users."""


class WorkInterruptedError(GlossatorError, code="interrupted", title="Work was interrupted"):
    """Work whose lease is lost or whose job was cancelled; never shown to users."""


class ServerUnreachableError(GlossatorError, code="server-unreachable", status=503, title="No server answers", exit_status=2): ...


class DatabaseUnfitError(GlossatorError, code="database-unfit", status=503, title="The database cannot be used", exit_status=2):
    """A database that cannot store what is written to it."""


class DatabaseUnreachableError(GlossatorError, code="database-unreachable", status=503, title="The database does not answer", exit_status=2):
    """The database or its file cannot be reached; stored data is safe, so retry later."""


class BrokerUnreachableError(GlossatorError, code="broker-unreachable", status=503, title="The broker does not answer", exit_status=2):
    """The broker cannot be used: running processes continue without it, starting ones end."""


class HomeUnusableError(GlossatorError, code="home-unusable", status=503, title="The home cannot be used", exit_status=2):
    """A home that is not a folder, or that this user may not use."""


class HomeTakenError(GlossatorError, code="home-taken", status=409, title="Another server uses the home", exit_status=2):
    """Another server uses the home; two would manage the same workers and database."""


class ServerMissingError(GlossatorError, code="server-missing", status=503, title="A server is not installed", exit_status=2):
    """A program that is not installed on this machine."""


class ChecksBusyError(GlossatorError, code="checks-busy", status=503, title="Too many jobs are being looked at"):
    """No process is free to check a job's files; a retry helps."""


class LlmError(GlossatorError, code="llm-error", status=502, title="The language model did not answer"):
    """A failure between the service and a language model."""

    def copy(self) -> Self:
        """Return an equal error, since a shared one would collect the tracebacks of many tasks."""
        return type(self)(self.what, why=self.why, cure=self.cure, **self.details)


class CallFailedError(LlmError, code="call-failed", title="A call failed"):
    """A prompt has no answer, which a retry would not change; the job continues."""


class RefusalError(CallFailedError, code="refused-by-model", title="The model refused to answer"): ...


class ReplyTruncatedError(CallFailedError, code="reply-truncated", title="The reply was cut short"): ...


class ReplyInvalidError(CallFailedError, code="reply-invalid", title="The reply cannot be read"):
    """A reply that cannot be parsed, after a repair turn and retries."""


class ReplyTooLargeError(CallFailedError, code="reply-too-large", title="The reply is too large"):
    """A reply larger than any answer to the prompt; the rest is not read."""


class PromptTooLongError(CallFailedError, code="prompt-too-long", status=422, title="The prompt is longer than the model's window"): ...


class CallRejectedError(CallFailedError, code="call-rejected", title="The endpoint rejected the request"):
    """A request that the endpoint rejects (HTTP 400 and the like)."""


class JobPausedError(LlmError, code="job-paused", status=409, title="The job is paused"):
    """No call of the job can continue: it pauses and can be resumed.

    At submission the same error refuses the job.
    """


class BudgetReachedError(JobPausedError, code="budget-reached", title="The budget is reached"): ...


class EndpointUnreachableError(JobPausedError, code="endpoint-unreachable", status=422, title="The endpoint does not answer"): ...


class EndpointRefusedError(JobPausedError, code="endpoint-refused", status=422, title="The endpoint may not be asked"):
    """The endpoint, or its private address, is not on the settings' list."""


class KeyRefusedError(JobPausedError, code="key-refused", status=422, title="The endpoint refuses the key"): ...


class ModelUnknownError(JobPausedError, code="model-unknown", status=422, title="The endpoint has no such model"): ...


class AbilityMissingError(JobPausedError, code="ability-missing", status=422, title="The model lacks what the scorer needs"):
    """A scorer needs log-probs or embeddings that the model or its endpoint lacks."""


class QuotaExhaustedError(JobPausedError, code="quota-exhausted", title="The account's quota is used up"): ...


class PriceUnknownError(JobPausedError, code="price-unknown", status=422, title="Nobody knows the model's price"): ...


def error_classes(kind: type[GlossatorError] = GlossatorError) -> Iterator[type[GlossatorError]]:
    """Yield a class of errors and all its subclasses."""
    yield kind
    for child in kind.__subclasses__():
        yield from error_classes(child)


@cache
def installation_codes() -> frozenset[str]:
    """Return the codes of errors that are faults of the installation (exit status 2)."""
    return frozenset(kind.code for kind in error_classes() if kind.exit_status == 2)


def problem_of(error: BaseException) -> dict[str, Any]:
    """Return the error as an RFC 9457 problem document, for jobs, chunks and API answers.

    The API adds the request as `instance`. `type` is a relative reference to a page of the API. For an error that is not a GlossatorError the
    document has only type and message; the traceback is in the log and on the chunk.
    """
    kind = error if isinstance(error, GlossatorError) else GlossatorError(f"{type(error).__name__}: {error}")
    problem = {"type": f"/problems/{kind.code}", "title": kind.title, "status": kind.status, "code": kind.code, "detail": kind.what}
    optional = {"why": kind.why, "cure": kind.cure, "details": kind.details}
    return problem | {name: value for name, value in optional.items() if value}

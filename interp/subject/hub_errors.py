"""Errors of huggingface_hub as errors with a cure, for subjects, dictionaries and corpora alike."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from interp.domain.cleaning import one_line
from interp.domain.errors import FileMissingError, InputError
from interp.files.atomic import disk_full

SHOWN = 300  # characters of a name, and of the Hub's own words
TOKEN = "set HF_TOKEN where the workers run"
LATER = "Try again when it answers; HF_ENDPOINT names a mirror."


@dataclass(frozen=True, slots=True)
class Case:
    """What to say of some errors.

    Texts may hold `{what}`, which was asked for, and `{said}`, the Hub's own words.
    `missing`: it is not there, and no later attempt finds it.
    """

    errors: tuple[type[Exception], ...]
    says: str
    why: str
    cure: str
    missing: bool = False
    statuses: tuple[int, ...] = ()

    def fits(self, error: Exception) -> bool:
        status = getattr(getattr(error, "response", None), "status_code", None)
        return isinstance(error, self.errors) and (not self.statuses or status in self.statuses)


@contextmanager
def hub_errors(what: str, other: type[InputError], no_file: str = "Check the path.") -> Iterator[None]:
    """Turn errors of asking the Hub for `what` into errors with a cure.

    `no_file` is the cure where the repository lacks the file. Raises FileMissingError, DiskFullError, and `other` where the Hub gives nothing.
    """
    from huggingface_hub import constants

    try:
        with disk_full(Path(constants.HF_HUB_CACHE)):
            yield
    except _errors() as error:
        case = next(case for case in _cases() if case.fits(error))
        said = one_line(str(error), SHOWN)
        texts = {"what": one_line(what, SHOWN), "said": said, "no_file": no_file}
        kind = FileMissingError if case.missing else other
        raise kind(case.says.format(**texts), why=case.why.format(**texts), cure=case.cure.format(**texts)) from error


@cache
def _cases() -> tuple[Case, ...]:
    """Return all cases; the first that fits counts, so subclasses come before classes."""
    import httpx2
    from huggingface_hub import errors as hub

    gone, refuses = "{what} is not on the Hub.", "The Hub does not give {what}."
    return (
        Case(
            (hub.GatedRepoError,),
            "{what} is gated on the Hub.",
            "Its owner gives it to accounts that have accepted its conditions.",
            f"Accept them on its page, and {TOKEN}, to a token of that account.",
            missing=True,
        ),
        Case(
            (hub.RepositoryNotFoundError,),
            gone,
            "There is no such repository, or it is private.",
            f"Check the name; for a private or gated repository {TOKEN}.",
            missing=True,
        ),
        Case(
            (hub.RevisionNotFoundError,),
            gone,
            "The repository has no such revision.",
            "Check the revision: a branch, a tag or a commit.",
            missing=True,
        ),
        Case((hub.HFValidationError,), "{what} is no name of the Hub.", "{said}", "Check the name or path.", missing=True),
        Case(
            (hub.LocalEntryNotFoundError,),
            "{what} is not on this machine.",
            "There is no such file here, and the Hub does not answer or is switched off (HF_HUB_OFFLINE).",
            f"{LATER} Or fetch it where the Hub answers, by `hf download`, and take HF_HOME along.",
            missing=True,
        ),
        Case((hub.EntryNotFoundError, FileNotFoundError), gone, "The repository has no such file.", "{no_file}", missing=True),
        Case((hub.OfflineModeIsEnabled,), refuses, "HF_HUB_OFFLINE is set.", "Unset it where the workers run, or give a local path."),
        Case((hub.HfHubHTTPError,), refuses, "{said}", f"Renew the token, or {TOKEN}.", statuses=(401, 403)),
        Case(
            (hub.HfHubHTTPError,),
            refuses,
            "It was asked too often.",
            f"Try again in some minutes, or {TOKEN}: accounts may ask more.",
            statuses=(429,),
        ),
        Case((httpx2.TimeoutException, TimeoutError), refuses, "It does not answer in time.", LATER),
        Case((httpx2.HTTPError, OSError), refuses, "{said}", LATER),
    )


@cache
def _errors() -> tuple[type[Exception], ...]:
    return tuple({kind for case in _cases() for kind in case.errors})

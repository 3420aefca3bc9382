"""Each error of the Hub says what happened and what helps, and only what is not there is called missing."""

import errno
from collections.abc import Callable
from pathlib import Path

import httpx2
import pytest
from huggingface_hub import errors as hub

from interp.domain.errors import DictionaryError, DiskFullError, FileMissingError, GlossatorError
from interp.subject.hub_errors import hub_errors


def answered(kind: type[hub.HfHubHTTPError], status: int) -> Exception:
    return kind("the Hub's words", response=httpx2.Response(status, request=httpx2.Request("GET", "https://huggingface.co/org/sae")))


@pytest.mark.parametrize(
    ("raised", "kind", "says"),
    [
        (lambda: answered(hub.GatedRepoError, 403), FileMissingError, "gated .* Accept them on its page"),
        (lambda: answered(hub.RepositoryNotFoundError, 401), FileMissingError, "no such repository, or it is private.*HF_TOKEN"),
        (lambda: answered(hub.RepositoryNotFoundError, 404), FileMissingError, "no such repository"),
        (lambda: answered(hub.RevisionNotFoundError, 404), FileMissingError, "no such revision"),
        (lambda: answered(hub.RemoteEntryNotFoundError, 404), FileMissingError, "no such file.*Look elsewhere"),
        (lambda: hub.LocalEntryNotFoundError("no"), FileMissingError, "not on this machine.*hf download"),
        (lambda: hub.HFValidationError("no name"), FileMissingError, "is no name of the Hub"),
        (lambda: hub.OfflineModeIsEnabled("off"), DictionaryError, "HF_HUB_OFFLINE is set"),
        (lambda: answered(hub.HfHubHTTPError, 401), DictionaryError, "the Hub's words.*Renew the token"),
        (lambda: answered(hub.HfHubHTTPError, 403), DictionaryError, "Renew the token"),
        (lambda: answered(hub.HfHubHTTPError, 429), DictionaryError, "asked too often"),
        (lambda: answered(hub.HfHubHTTPError, 503), DictionaryError, "the Hub's words.*HF_ENDPOINT"),
        (lambda: httpx2.ReadTimeout("slow"), DictionaryError, "does not answer in time"),
        (lambda: httpx2.ConnectError("refused"), DictionaryError, "does not give hf://org/sae.*refused.*Try again"),
        (lambda: OSError(errno.ECONNRESET, "Connection reset by peer"), DictionaryError, "does not give"),
        (lambda: OSError("the consistency check failed"), DictionaryError, "does not give"),
        (lambda: OSError(errno.ENOSPC, "No space left on device"), DiskFullError, "Free some space"),
    ],
)
def test_every_error_has_its_cure(
    raised: Callable[[], Exception], kind: type[GlossatorError], says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "not made yet"))
    with pytest.raises(kind, match=says) as found, hub_errors("hf://org/sae", DictionaryError, no_file="Look elsewhere."):
        raise raised()
    assert found.value.cure


def test_other_errors_pass() -> None:
    with pytest.raises(ZeroDivisionError), hub_errors("hf://org/sae", DictionaryError):
        raise ZeroDivisionError

"""Errors of the client, each with what happened, why, and what to do."""

from collections.abc import Mapping
from typing import Any


class ClientError(Exception):
    """Base of every error that the client raises."""

    def __init__(self, what: str, why: str = "", cure: str = "") -> None:
        self.what, self.why, self.cure = what, why, cure
        super().__init__(" ".join(part for part in (what, why, cure) if part))


class ApiError(ClientError):
    """A problem document (RFC 9457) in the server's answer."""

    def __init__(self, problem: Mapping[str, Any]) -> None:
        self.problem = dict(problem)
        self.code, self.status = str(problem.get("code", "")), int(problem.get("status", 0))
        super().__init__(problem.get("detail", ""), problem.get("why", ""), problem.get("cure", ""))


class UnreachableError(ClientError):
    """No server answers at the URL, or what answers is not a Glossator server."""


class PackageMissingError(ClientError, ImportError):
    """An optional package is not installed."""

    def __init__(self, package: str) -> None:
        super().__init__(f"{package} is not installed.", cure=f"Install it: pip install 'glossator[{package}]'.")


class JobNotCompletedError(ClientError):
    """The job that was waited for failed, was cancelled, or is paused."""

    def __init__(self, job: Mapping[str, Any]) -> None:
        self.job = job
        reason = job.get("error") or job.get("pause_reason") or {}
        what = f"Job {job['id']}: {job['status']}. {reason.get('detail', '')}".strip()
        super().__init__(what, reason.get("why") or "", reason.get("cure") or "")


class WaitTimeoutError(ClientError, TimeoutError):
    """The job that was waited for did not end in time; it goes on."""

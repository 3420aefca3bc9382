"""Client of a Glossator server: submit jobs, follow them, read what they found."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from glossator.client import AsyncClient, Client
    from glossator.errors import ApiError, ClientError, JobNotCompletedError, PackageMissingError, UnreachableError, WaitTimeoutError
    from glossator.listings import AsyncListing, Listing
    from glossator.records import Record
    from glossator.retries import NO_RETRIES, Retries
    from glossator.session import Event

    __version__: str

# Imported on use: a program that only reads a version or draws a chart needs no HTTP client.
MODULES = {
    "client": ("AsyncClient", "Client"),
    "errors": ("ApiError", "ClientError", "JobNotCompletedError", "PackageMissingError", "UnreachableError", "WaitTimeoutError"),
    "listings": ("AsyncListing", "Listing"),
    "records": ("Record",),
    "retries": ("NO_RETRIES", "Retries"),
    "session": ("Event",),
}

__all__ = [
    "NO_RETRIES",
    "ApiError",
    "AsyncClient",
    "AsyncListing",
    "Client",
    "ClientError",
    "Event",
    "JobNotCompletedError",
    "Listing",
    "PackageMissingError",
    "Record",
    "Retries",
    "UnreachableError",
    "WaitTimeoutError",
    "__version__",
]


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import version

        return version("glossator")
    module = next((module for module, names in MODULES.items() if name in names), None)
    if module is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"glossator.{module}"), name)


def __dir__() -> list[str]:
    return __all__

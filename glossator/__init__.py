"""Client of a Glossator server: submit jobs, follow them, read what they found."""

from importlib.metadata import version

from glossator.client import Client, Event
from glossator.errors import ApiError, ClientError, UnreachableError

__version__ = version("glossator")

__all__ = ["ApiError", "Client", "ClientError", "Event", "UnreachableError", "__version__"]

"""Types of settings' values, with the error that shows how to write one."""

import json
import re
from ipaddress import ip_network
from typing import Annotated

from pydantic import AfterValidator

from interp.config.outgoing import Link

# A name, an address, `*.` before a name, or `*`.
HOST_NAME = re.compile(r"\*|(\*\.)?[A-Za-z0-9][A-Za-z0-9._-]*|[0-9a-fA-F:]*:[0-9a-fA-F:.]*")
ORIGIN = re.compile(r"\*|https?://([a-z0-9._-]+|\[[0-9a-f:.]+\])(:[0-9]{1,5})?")
RATES = re.compile(r"([1-9][0-9]{0,8}/(second|minute|hour|day)(;(?=.)|$))*")


def _url(url: str) -> str:
    try:
        Link.of(url)
    except ValueError as error:
        raise ValueError(f"{url!r} is no URL that can be asked: {error}") from None
    return url


def _base_url(url: str) -> str:
    """Refuse secrets in a base URL, since jobs store and show it."""
    if "@" in url.partition("//")[2].partition("/")[0] or "?" in url or "#" in url:
        raise ValueError("a base URL is shown with every job, so it holds no user, password or query: give a key in llm_api_key or llm_keys")
    return url


def _host_name(name: str) -> str:
    if not HOST_NAME.fullmatch(name):
        raise ValueError(f"{name!r} is no host name: write it without scheme and port, as glossator.example.org or *.example.org")
    return name


def _network(network: str) -> str:
    try:
        ip_network(network)
    except ValueError as error:
        raise ValueError(f"{error}: write 10.0.0.0/8 or fd00::/8") from None
    return network


def _origin(origin: str) -> str:
    if not ORIGIN.fullmatch(origin):
        raise ValueError(f"{origin!r} is no origin: write it in lower case without a path, as https://app.example.org, or * for any")
    return origin


def _rates(rates: str) -> str:
    if not RATES.fullmatch(rates):
        raise ValueError(f"{rates!r} is no rate: write 600/minute, 20/second;600/minute, or nothing for none")
    return rates


Url = Annotated[str, AfterValidator(_url)]
BaseUrl = Annotated[str, AfterValidator(_base_url)]
EndpointUrl = Annotated[Url, AfterValidator(_base_url)]
HostName = Annotated[str, AfterValidator(_host_name)]
IpNetwork = Annotated[str, AfterValidator(_network)]
Origin = Annotated[str, AfterValidator(_origin)]
Rates = Annotated[str, AfterValidator(_rates)]


def split(value: object, separator: str, example: str) -> object:
    """Split a JSON list or separated items; raises ValueError, which shows `example`."""
    if not isinstance(value, str):
        return value
    if value.lstrip().startswith("["):
        try:
            return json.loads(value)
        except ValueError:
            raise ValueError(f"its value is no JSON list: write {example}") from None
    return [part.strip() for part in value.split(separator) if part.strip()]

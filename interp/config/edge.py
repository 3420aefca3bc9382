"""Settings between clients and the API: proxies, pages of other sites, and rates."""

from typing import Annotated, Literal

from pydantic import BaseModel, Field, field_validator
from pydantic_settings import NoDecode

from interp.config.values import IpNetwork, Origin, Rates, split


class Edge(BaseModel):
    """Proxies, other sites and rates."""

    trusted_proxies: Annotated[tuple[IpNetwork, ...], NoDecode] = Field(
        default=(),
        description="Networks of the proxies in front of the API, with ',' between them, or as a JSON list: `10.0.0.0/8,::1/128`. Only what "
        "these send is believed about a client's address and scheme.",
    )
    forwarded_header: Literal["x-forwarded-for", "forwarded"] = Field(
        default="x-forwarded-for",
        description="The header in which those proxies name the client: `x-forwarded-for` (with `x-forwarded-proto`) or `forwarded` (RFC 7239).",
    )
    cors_origins: Annotated[tuple[Origin, ...], NoDecode] = Field(
        default=(),
        description="Origins whose pages may use the API from a browser, with ',' between them, or as a JSON list: `https://app.example.org`, "
        "`*` for any. They may change something only with a key.",
    )
    embed_origins: Annotated[tuple[Origin, ...], NoDecode] = Field(
        default=(),
        description="Origins whose pages may hold a feature's page as a frame (`?embed=1`), with ',' between them, or as a JSON list.",
    )
    rate_reads: Rates = Field(
        default="6000/minute",
        description="Most requests that read, of one key, or of one address without a key: `20/second;600/minute`, or nothing for none.",
    )
    rate_writes: Rates = Field(default="600/minute", description="The same of requests that change something.")
    rate_expensive: Rates = Field(
        default="120/minute", description="The same of requests that cost much: estimates, checks, searches, exports and the model at hand."
    )
    rate_failed_logins: Rates = Field(default="20/minute", description="Most requests of one address with a key that is not valid.")

    @field_validator("trusted_proxies", mode="before")
    @classmethod
    def _split_trusted_proxies(cls, value: object) -> object:
        return split(value, ",", '["10.0.0.0/8"], or 10.0.0.0/8,::1/128')

    @field_validator("embed_origins", mode="before")
    @classmethod
    def _split_embed_origins(cls, value: object) -> object:
        return split(value, ",", '["https://a.example.org"], or https://a.example.org,https://b.example.org')

    @field_validator("cors_origins", mode="before")
    @classmethod
    def _split_cors_origins(cls, value: object) -> object:
        return split(value, ",", '["https://a.example.org"], or https://a.example.org,https://b.example.org')

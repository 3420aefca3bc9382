"""Settings by group, each the variable `GLOSSATOR_<FIELD>`; a unit ends a number's name.

Each group is a base class of `Settings`, which is the one to be instantiated.
"""

import binascii
import os
import re
from base64 import b64decode
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AliasChoices, BaseModel, Field, SecretStr, field_validator, model_validator
from pydantic_settings import NoDecode

from interp.config.edge import Edge
from interp.config.environment import without_password
from interp.config.logins import Logins
from interp.config.values import BaseUrl, EndpointUrl, HostName, IpNetwork, Url, split
from interp.domain.api_key import parsed

BACKENDS = ("sqlite", "postgresql")


class Storage(BaseModel):
    """Storage."""

    config: Path | None = Field(
        default=None,
        description="File of settings; `glossator.toml` of the working folder, or of `~/.config`, when not given, and none when empty.",
    )
    home: Path = Field(default=Path(".glossator"), description="Folder of the embedded database, broker and artifacts.")
    database_url: str = Field(default="", description="SQLAlchemy URL; SQLite under `home` when empty.")
    broker_url: str = Field(default="", description="Celery broker URL; `filesystem://` under `home` when empty.")
    artifacts_url: str = Field(
        default="", description="Folder or URL (`s3://bucket/folder`) of tokenised corpora and partial evidence; under `home` when empty."
    )
    artifact_options: dict[str, Any] = Field(
        default_factory=dict, description="Options of the artifact store's file system, as JSON: `endpoint_url` of a bucket that is not AWS."
    )

    @field_validator("config", mode="before")
    @classmethod
    def _read_no_file(cls, value: object) -> object:
        return value or None

    @field_validator("database_url")
    @classmethod
    def _check_database_url(cls, value: str) -> str:
        backend = value.partition("://")[0].partition("+")[0]
        if "://" not in value or backend not in BACKENDS:
            shown = without_password(value)
            raise ValueError(f"{shown!r} is no URL of a database: write postgresql://user:password@host:5432/name or sqlite:////absolute/path.db")
        return value

    @field_validator("broker_url")
    @classmethod
    def _check_broker_url(cls, value: str) -> str:
        if "://" not in value:
            raise ValueError(f"{value.split('@')[-1]!r} is no URL of a broker: write redis://host:6379/0")
        return value


class Inputs(BaseModel):
    """Files that jobs may read."""

    roots: Annotated[tuple[Path, ...] | None, NoDecode] = Field(
        default=None,
        description="Folders whose files jobs may name, with ':' between them, or as a JSON list. When not given: on a loopback address with the "
        "embedded broker the working folder, the examples, and the standard library that they read; otherwise none.",
    )
    buckets: Annotated[tuple[str, ...], NoDecode] = Field(
        default=(), description="Buckets or folders in them (`s3://bucket/folder`) whose files jobs may name, as a JSON list or with commas."
    )
    preflight_timeout_seconds: float = Field(default=300.0, gt=0, description="Longest time for checking the files of a submitted job.")
    preflight_max_bytes: int = Field(default=1 << 40, ge=1, description="Most bytes that checking the files of a submitted job may read.")
    preflight_memory_bytes: int = Field(default=2**31, ge=2**26, description="Most memory that checking a job's files may use.")
    preflight_processes: int = Field(default=4, ge=1, le=256, description="Jobs whose files the API checks at once, each in a process of its own.")
    preflight_wait_seconds: float = Field(default=1.0, gt=0, description="Longest wait of a request for such a process.")
    upload_max_bytes: int = Field(default=20 << 30, ge=0, description="Largest upload, an archive's content included; 0 takes none.")
    upload_max_files: int = Field(default=10_000, ge=1, le=100_000, description="Most files of an uploaded archive.")
    upload_timeout_seconds: float = Field(default=3600.0, gt=0, description="Longest time for sending an upload, and for unpacking it.")
    uploads_at_once: int = Field(default=4, ge=1, le=32, description="Uploads that the API receives at once.")
    uploads_owner_max_bytes: int = Field(default=100 << 30, ge=0, description="Most bytes of one owner's uploads.")
    uploads_total_max_bytes: int = Field(default=1 << 40, ge=0, description="Most bytes of all uploads; equal files count once.")

    @field_validator("roots", mode="before")
    @classmethod
    def _split_roots(cls, value: object) -> object:
        """Keep the default for an empty text; an empty list allows no folder."""
        if isinstance(value, str) and not value.strip(os.pathsep + " "):
            return None
        return split(value, os.pathsep, '["/data", "/models"], or /data:/models')

    @field_validator("buckets", mode="before")
    @classmethod
    def _split_buckets(cls, value: object) -> object:
        return split(value, ",", '["s3://corpora"], or s3://corpora,s3://texts/public')

    @field_validator("buckets")
    @classmethod
    def _check_buckets(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for url in value:
            if not re.fullmatch(r"s3://[^/\s]+(/\S*)?", url):
                raise ValueError(f"{url!r} is no bucket: write s3://bucket or s3://bucket/folder")
        return value

    @field_validator("roots")
    @classmethod
    def _make_roots_absolute(cls, value: tuple[Path, ...] | None) -> tuple[Path, ...] | None:
        return None if value is None else tuple(Path(os.path.expanduser(root)).absolute() for root in value)  # noqa: PTH111


class Server(BaseModel):
    """REST API."""

    host: str = Field(default="127.0.0.1", description="Address that the server listens on.")
    port: int = Field(default=8420, ge=0, le=65535, description="Port that the server listens on.")
    admin_key: SecretStr = Field(
        default=SecretStr(""),
        description="A key with all rights that the API makes at its start: `gl_`, 8 hexadecimal digits, `_` and 64 more. Other keys are of "
        "`glossator keys create`.",
    )
    allowed_hosts: Annotated[tuple[HostName, ...], NoDecode] = Field(
        default=(),
        description="Host names that requests may be for, beside those of this machine and the address listened on, with ',' between them, or as "
        "a JSON list: `glossator.example.org`, `*.example.org` for all names below, `*` for any.",
    )
    api_url: str = Field(default="", description="The server that the command line talks to; the one at `host` and `port` when empty.")
    api_key: SecretStr = Field(default=SecretStr(""), description="The key that the command line sends to that server.")
    api_key_file: Path | None = Field(
        default=None, description="A file that holds that key, instead; only its owner may have rights to it (`chmod 600`)."
    )
    max_connections: int = Field(default=2000, ge=8, le=100_000, description="Most open connections; one more is refused with 503.")
    request_head_timeout_seconds: float = Field(default=10.0, gt=0, description="Longest time for a client to send the head of a request.")
    request_body_timeout_seconds: float = Field(default=60.0, gt=0, description="Longest time for a client to send the body of a request.")
    response_send_timeout_seconds: float = Field(default=60.0, gt=0, description="Longest time in which a client takes nothing of a response.")
    keep_alive_timeout_seconds: float = Field(default=5.0, gt=0, description="Time after which a connection without a request is closed.")

    @field_validator("admin_key", "api_key")
    @classmethod
    def _check_key(cls, value: SecretStr) -> SecretStr:
        if value.get_secret_value() and parsed(value.get_secret_value()) is None:
            raise ValueError('it is no key: make one with `glossator keys create`, or echo "gl_$(openssl rand -hex 4)_$(openssl rand -hex 32)"')
        return value

    @field_validator("allowed_hosts", mode="before")
    @classmethod
    def _split_allowed_hosts(cls, value: object) -> object:
        return split(value, ",", '["a.example.org"], or a.example.org,b.example.org')


class Workers(BaseModel):
    """Workers."""

    gpu_workers: int = Field(default=1, ge=0, description="gpu workers that `serve` starts.")
    llm_workers: int | None = Field(default=None, ge=0, description="llm workers that `serve` starts; one per CPU core when not given.")
    llm_worker_threads: int = Field(
        default=4, ge=1, description="Chunks that one llm worker works on at once, so that calls of one fill the gaps of another."
    )
    gpu_worker_memory_bytes: int | None = Field(
        default=None, ge=1, description="Memory that a gpu worker may use; all of its GPU or container when not given."
    )
    model_affinity_seconds: float = Field(
        default=60.0, ge=0, description="Longest time for which a job is passed by for one whose models the worker has open already."
    )
    live_models: int = Field(
        default=2,
        ge=0,
        le=64,
        description="Runs whose models a gpu worker keeps open for live requests (`glossator activations`, `glossator steer`); 0 answers none.",
    )
    stop_timeout_seconds: float = Field(
        default=15.0, gt=0, description="Within which `serve` ends on SIGTERM with its workers; a worker by itself hands back its chunk."
    )
    health_port: int | None = Field(default=None, ge=0, le=65535, description="Port on which a worker process answers /healthz; none when not given.")


class Queues(BaseModel):
    """Queues and leases."""

    lease_seconds: float = Field(default=30.0, gt=0, description="Time after which a worker that is silent loses its chunk.")
    heartbeat_interval_seconds: float = Field(default=5.0, gt=0, description="Time between two renewals of a lease.")
    progress_interval_seconds: float = Field(default=1.0, gt=0, description="Least time between two records of a chunk's progress.")
    lease_check_interval_seconds: float = Field(
        default=0.25,
        gt=0,
        description="Time between two checks of whether a worker's leases hold and their jobs run.",
    )
    sweep_interval_seconds: float = Field(default=2.0, gt=0, description="Time between two searches for leases that have run out.")
    poll_interval_seconds: float = Field(default=15.0, gt=0, description="Time between two looks for chunks of a worker that is not notified.")
    notify_max_pending: int = Field(default=64, ge=1, description="Most wake-up notifications of one queue that may wait at the broker.")
    notify_again_seconds: float = Field(default=30.0, gt=0, description="Time after which a ready chunk that nobody took is notified of again.")
    max_attempts: int = Field(default=3, ge=1, description="Attempts of a chunk that raises an unexpected error.")
    max_lost_leases: int = Field(default=6, ge=1, description="Attempts of a chunk whose workers die, after which it fails.")
    merge_chunk_features: int = Field(default=512, ge=1, description="Features per merge chunk.")
    merge_fan_in: int = Field(default=16, ge=2, description="Partial results that one chunk puts together; more shards make a tree.")
    explain_chunk_features: int = Field(default=64, ge=1, description="Features per explain or score chunk.")
    batch_chunk_features: int = Field(default=4096, ge=1, description="Features per explain or score chunk of a job whose calls go in batches.")

    @model_validator(mode="after")
    def _check_lease(self) -> "Queues":
        if self.heartbeat_interval_seconds * 2 > self.lease_seconds:
            raise ValueError("lease_seconds must be at least twice heartbeat_interval_seconds, or one late heartbeat loses the chunk")
        return self


class LanguageModels(BaseModel):
    """Language models. A key is sent only to the base URL it belongs to."""

    llm_base_url: BaseUrl = Field(
        default="https://api.openai.com/v1",
        validation_alias=AliasChoices("GLOSSATOR_LLM_BASE_URL", "OPENAI_BASE_URL"),
        description="The endpoint of models that name none.",
    )
    llm_api_key: SecretStr = Field(
        default=SecretStr(""), validation_alias=AliasChoices("GLOSSATOR_LLM_API_KEY", "OPENAI_API_KEY"), description="The key of that endpoint."
    )
    llm_keys: dict[BaseUrl, SecretStr] = Field(default_factory=dict, description="Keys of other endpoints, by base URL, as JSON.")
    llm_endpoints: tuple[EndpointUrl, ...] = Field(
        default=(),
        description="More endpoints that jobs may name, by base URL, as JSON; llm_base_url and those of llm_keys may be named always.",
    )
    llm_max_reply_bytes: int = Field(default=2**20, ge=4096, description="Largest reply, beside what the tokens or vectors that were requested need.")
    llm_max_concurrent_calls: int = Field(
        default=64, ge=1, le=4096, description="Most calls in flight of one worker to one model; fewer where the endpoint limits them."
    )
    llm_max_outage_seconds: float = Field(
        default=120.0,
        gt=0,
        description="Longest time of transient faults without a success before the job pauses, and the longest wait that an endpoint may ask for.",
    )
    llm_batch_poll_interval_seconds: float = Field(default=30.0, gt=0, description="Time between two requests for the state of a batch.")


class Outgoing(BaseModel):
    """Webhooks and private networks."""

    webhook_secret: SecretStr = Field(default=SecretStr(""), description="Signs webhooks (Standard Webhooks, `whsec_...`); unsigned when empty.")
    webhook_endpoints: tuple[Url, ...] = Field(
        default=(), description="Receivers that webhooks may go to, by URL, as JSON; any at a public address when empty."
    )
    webhook_allow_private_networks: bool = Field(
        default=False, description="Whether webhooks may go to addresses of private networks and of this machine."
    )
    webhook_timeout_seconds: float = Field(default=10.0, gt=0, description="Longest time for a webhook's receiver to answer.")
    webhook_max_attempts: int = Field(default=8, ge=1, description="Attempts of a webhook, each after twice the wait of the one before.")
    allowed_private_networks: tuple[IpNetwork, ...] = Field(
        default=(),
        description='Networks that are not public and that endpoints of jobs and webhooks may be in, as JSON: ["10.0.0.0/8"].',
    )

    @field_validator("webhook_secret")
    @classmethod
    def _check_webhook_secret(cls, value: SecretStr) -> SecretStr:
        try:
            b64decode(value.get_secret_value().removeprefix("whsec_"), validate=True)
        except binascii.Error:
            raise ValueError("webhook_secret is no Standard Webhooks secret: whsec_ and then base64, as `openssl rand -base64 32` gives it") from None
        return value


class Observability(BaseModel):
    """Logs and traces."""

    log_level: Literal["debug", "info", "warning", "error"] = Field(default="info", description="Least level of the log's lines.")
    log_format: Literal["console", "json"] = Field(default="console", description="Lines for people, or JSON objects.")
    otel_endpoint: str = Field(
        default="",
        validation_alias=AliasChoices("GLOSSATOR_OTEL_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT"),
        description="OTLP collector that spans go to; none when empty.",
    )


class Retention(BaseModel):
    """Retention after a job's end, or since an entry. Without a value nothing is deleted."""

    retain_calls_days: float | None = Field(default=None, gt=0, description="Records of calls to language models.")
    retain_replies_days: float | None = Field(default=None, gt=0, description="Raw replies; calls that are made again cost again.")
    retain_chunks_days: float | None = Field(default=30.0, gt=0, description="Chunks of jobs that have ended.")
    retain_corpora_days: float | None = Field(default=None, gt=0, description="Tokenised corpora that no job has read since.")
    retain_uploads_days: float | None = Field(
        default=30.0, gt=0, description="Uploads that no job has been submitted with since; open jobs keep theirs."
    )
    retain_parts_days: float | None = Field(default=2.0, gt=0, description="Parts of uploads that were never joined.")
    retain_exports_days: float | None = Field(default=7.0, gt=0, description="Exports since they were finished, with their files.")
    retain_audit_days: float | None = Field(default=365.0, gt=0, description="Entries of the audit log.")
    retain_webhooks_days: float | None = Field(default=30.0, gt=0, description="Webhooks that were delivered or given up.")


GROUPS: tuple[type[BaseModel], ...] = (Storage, Inputs, Server, Edge, Logins, Workers, Queues, LanguageModels, Outgoing, Observability, Retention)

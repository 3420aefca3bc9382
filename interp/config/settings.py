"""All configuration, grouped; the only reader of the environment. Every name is `GLOSSATOR_<FIELD>`."""

import binascii
import json
import os
import re
import sys
import sysconfig
from base64 import b64decode
from functools import cache
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import AliasChoices, Field, SecretStr, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict, SettingsError

from interp.config.environment import check_names, variable_of, without_password
from interp.config.outgoing import EVERYWHERE, Link, OutgoingPolicy
from interp.config.secrets import conceal, take_inherited
from interp.domain.errors import SettingsInvalidError

BACKENDS = ("sqlite", "postgresql")
# The variables whose values are kept from other processes.
SECRETS = frozenset(f"GLOSSATOR_{name}" for name in ("LLM_API_KEY", "LLM_KEYS", "WEBHOOK_SECRET", "DATABASE_URL", "BROKER_URL", "ARTIFACT_OPTIONS"))
# A name, an address, `*.` before a name, or `*`.
HOST_NAME = re.compile(r"\*|(\*\.)?[A-Za-z0-9][A-Za-z0-9._-]*|[0-9a-fA-F:]*:[0-9a-fA-F:.]*")
PATH_SHOWN = 100
# Models and dictionaries that come with the package.
EXAMPLES = Path(__file__).parents[2] / "examples"


class Settings(BaseSettings):
    """With nothing set, everything lives in one folder and needs no server."""

    model_config = SettingsConfigDict(env_prefix="GLOSSATOR_", frozen=True, extra="forbid", populate_by_name=True, hide_input_in_errors=True)

    # Where things are.
    home: Path = Field(default=Path(".glossator"), description="Folder of the embedded database, broker and artifacts.")
    database_url: str = Field(default="", description="SQLAlchemy URL; SQLite under `home` when empty.")
    broker_url: str = Field(default="", description="Celery broker URL; `filesystem://` under `home` when empty.")
    artifacts: str = Field(
        default="", description="Folder or URL (`s3://bucket/folder`) of tokenised corpora and partial evidence; under `home` when empty."
    )
    artifact_options: dict[str, Any] = Field(
        default_factory=dict, description="Options of the artifact store's file system, as JSON: `endpoint_url` of a bucket that is not AWS."
    )

    # What jobs may read. Never the service's own files, nor /proc, /sys and /dev.
    roots: Annotated[tuple[Path, ...] | None, NoDecode] = Field(
        default=None,
        description="Folders whose files jobs may name, with ':' between them, or as a JSON list. When not given: on a loopback address with the "
        "embedded broker the folder of the start, the examples, and the standard library that they read; otherwise none.",
    )

    read_seconds: float = Field(default=300.0, gt=0, description="How long a submission may read its job's files.")
    read_bytes: int = Field(default=1 << 40, ge=1, description="How many bytes of its job's files a submission may read.")
    read_memory_bytes: int = Field(default=2**31, ge=2**26, description="How much memory reading a job's files may take before the job starts.")
    read_processes: int = Field(default=4, ge=1, le=256, description="Jobs whose files the API reads at once, each in a process of its own.")
    read_wait_seconds: float = Field(default=1.0, gt=0, description="How long a request waits for a process that may read its job's files.")

    # The REST service.
    host: str = "127.0.0.1"
    port: int = Field(default=8420, ge=0, le=65535)
    i_know_there_is_no_login: bool = Field(
        default=False,
        description="Whether the API may listen where other machines reach it: whoever does can submit and cancel any job and spend any budget.",
    )
    allowed_hosts: Annotated[tuple[str, ...], NoDecode] = Field(
        default=(),
        description="Host names that requests may be for, beside those of this machine and the address listened on, with ',' between them, or as "
        "a JSON list: `glossator.example.org`, `*.example.org` for all names below, `*` for any.",
    )
    url: str = Field(default="", description="The server that the command line talks to; the one at `host` and `port` when empty.")

    # What the REST service's clients may hold of it.
    connections: int = Field(default=2000, ge=8, le=100_000, description="Connections that the server has at a time; one more is refused with 503.")
    head_seconds: float = Field(default=10.0, gt=0, description="How long a client may take to send the head of a request.")
    body_seconds: float = Field(default=60.0, gt=0, description="How long it may take to send the body.")
    send_seconds: float = Field(default=60.0, gt=0, description="How long it may take nothing of an answer that is being sent.")
    keep_alive_seconds: float = Field(default=5.0, gt=0, description="How long a connection without a request stays open.")

    # Leases. A worker that is silent for `lease_seconds` loses its chunk.
    lease_seconds: float = Field(default=30.0, gt=0)
    heartbeat_seconds: float = Field(default=5.0, gt=0)
    progress_seconds: float = Field(default=1.0, gt=0, description="Progress is written, and a cancel noticed, at most this often.")
    max_attempts: int = Field(default=3, ge=1, description="Attempts of a chunk that raises an unexpected error.")
    max_losses: int = Field(default=6, ge=1, description="Attempts of a chunk whose workers die before it fails as poison.")
    check_seconds: float = Field(default=0.25, gt=0, description="How often a worker looks whether its chunks are still to be worked on.")

    # Doorbells and the sweeper.
    bell_window: int = Field(default=64, ge=1, description="Doorbells of one queue that may wait to be answered.")
    bell_seconds: float = Field(default=30.0, gt=0, description="A ready chunk that nobody took is rung again after this.")
    sweep_seconds: float = Field(default=2.0, gt=0)
    idle_seconds: float = Field(default=15.0, gt=0, description="A worker that hears no bell for so long looks into the database itself.")

    # Models that stay open in a gpu worker.
    memory_bytes: int | None = Field(default=None, ge=1, description="What a gpu worker may use; all of its GPU or container when not given.")
    residency_seconds: float = Field(
        default=60.0, ge=0, description="How long a job may be passed by for one whose models a worker has open already."
    )

    # The embedded workers.
    gpu_workers: int = Field(default=1, ge=0)
    llm_workers: int | None = Field(default=None, ge=0, description="One a CPU core when not given.")
    stop_seconds: float = Field(
        default=15.0, gt=0, description="Within which `serve` ends on SIGTERM with its workers; a worker by itself hands back its chunk."
    )

    # Language models. A key is only ever sent to the base URL that it belongs to.
    llm_base_url: str = Field(
        default="https://api.openai.com/v1",
        validation_alias=AliasChoices("GLOSSATOR_LLM_BASE_URL", "OPENAI_BASE_URL"),
        description="The endpoint of models that name none.",
    )
    llm_api_key: SecretStr = Field(
        default=SecretStr(""), validation_alias=AliasChoices("GLOSSATOR_LLM_API_KEY", "OPENAI_API_KEY"), description="The key of that endpoint."
    )
    llm_keys: dict[str, SecretStr] = Field(default_factory=dict, description="Keys of other endpoints, by base URL, as JSON.")
    llm_endpoints: tuple[str, ...] = Field(
        default=(),
        description="More endpoints that jobs may name, by base URL, as JSON; llm_base_url and those of llm_keys may be named always.",
    )
    llm_reply_bytes: int = Field(
        default=2**20, ge=4096, description="The most that a reply may hold beside what the tokens or vectors that it was asked for need."
    )
    llm_in_flight: int = Field(
        default=64, ge=1, le=4096, description="Calls in flight of one worker to one model, at most; fewer where it pushes back."
    )
    llm_threads: int = Field(
        default=4, ge=1, description="Chunks that one llm worker works on at once, so that calls of one fill the gaps of another."
    )
    llm_patience_seconds: float = Field(
        default=120.0,
        gt=0,
        description="How long passing faults without one success go on before the job pauses, and the longest wait that an endpoint may announce.",
    )
    batch_poll_seconds: float = Field(default=30.0, gt=0, description="How often a batch is asked after.")

    # What is told to whom.
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    log_format: Literal["console", "json"] = "console"
    otel_endpoint: str = Field(
        default="",
        validation_alias=AliasChoices("GLOSSATOR_OTEL_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT"),
        description="OTLP collector that spans go to; none when empty.",
    )
    metrics_port: int | None = Field(default=None, ge=0, le=65535, description="Port on which a worker process answers /healthz, for orchestrators.")
    webhook_secret: SecretStr = Field(default=SecretStr(""), description="Signs webhooks (Standard Webhooks, `whsec_...`); unsigned when empty.")
    webhook_endpoints: tuple[str, ...] = Field(
        default=(), description="Receivers that webhooks may go to, by URL, as JSON; any at a public address when empty."
    )
    webhook_private: bool = Field(default=False, description="Whether webhooks may go to addresses of private networks and of this machine.")
    private_networks: tuple[str, ...] = Field(
        default=(),
        description="Networks that are not public and may be asked all the same, by endpoints that jobs name and by webhooks, as JSON: "
        '["10.0.0.0/8"].',
    )
    webhook_seconds: float = Field(default=10.0, gt=0, description="How long a webhook's receiver may take.")
    webhook_attempts: int = Field(default=8, ge=1, description="Tries of a webhook, each twice as long after the one before.")

    # How long what no result needs is kept after its job has ended. None: for ever.
    retain_calls_days: float | None = Field(default=None, gt=0, description="Records of calls to language models.")
    retain_replies_days: float | None = Field(default=None, gt=0, description="Raw replies; asked again they cost again.")
    retain_chunks_days: float | None = Field(default=30.0, gt=0, description="Chunks of jobs that have ended.")
    retain_corpora_days: float | None = Field(default=None, gt=0, description="Tokenised corpora that no job has read since.")
    retain_webhooks_days: float | None = Field(default=30.0, gt=0, description="Webhooks that were delivered or given up.")

    # Sizes of chunks, in features.
    merge_features: int = Field(default=512, ge=1)
    merge_fan_in: int = Field(default=16, ge=2, description="Partial results that one chunk puts together; more shards make a tree.")
    explain_features: int = Field(default=64, ge=1)
    batch_features: int = Field(default=4096, ge=1, description="Explain and score chunks of jobs whose calls go in batches.")

    if not TYPE_CHECKING:  # pydantic's plugin knows the fields; this only changes what a failure looks like

        def __init__(self, **values: Any) -> None:
            """Reads the environment. Raises SettingsInvalid, which names the variable, what is wrong with it, and the cure."""
            check_names(os.environ, set(type(self).model_fields), sys.stderr)
            try:
                super().__init__(**values)
            except (ValidationError, SettingsError) as error:
                raise _invalid(error) from error

    @field_validator("roots", mode="before")
    @classmethod
    def _roots_are_listed(cls, value: object) -> object:
        """An empty text leaves the default; an empty list is one of no roots."""
        if isinstance(value, str) and not value.strip(os.pathsep + " "):
            return None
        return _listed(value, os.pathsep, '["/data", "/models"], or /data:/models')

    @field_validator("allowed_hosts", mode="before")
    @classmethod
    def _hosts_are_listed(cls, value: object) -> object:
        return _listed(value, ",", '["a.example.org"], or a.example.org,b.example.org')

    @field_validator("allowed_hosts")
    @classmethod
    def _hosts_are_names(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for name in value:
            if not HOST_NAME.fullmatch(name):
                raise ValueError(f"{name!r} is no host name: write it without scheme and port, as glossator.example.org or *.example.org")
        return value

    @field_validator("roots")
    @classmethod
    def _roots_are_absolute(cls, value: tuple[Path, ...] | None) -> tuple[Path, ...] | None:
        return None if value is None else tuple(Path(os.path.expanduser(root)).absolute() for root in value)  # noqa: PTH111

    @model_validator(mode="before")
    @classmethod
    def _derive(cls, values: dict[str, object]) -> dict[str, object]:
        home = _resolved(str(values.get("home") or ".glossator"))
        return values | {
            "home": home,
            "database_url": values.get("database_url") or f"sqlite:///{home / 'glossator.db'}",
            "broker_url": values.get("broker_url") or f"filesystem://{home / 'broker'}",
            "artifacts": _url_of(str(values.get("artifacts") or home / "artifacts")),
        }

    @field_validator("database_url")
    @classmethod
    def _database_is_known(cls, value: str) -> str:
        backend = value.partition("://")[0].partition("+")[0]
        if "://" not in value or backend not in BACKENDS:
            shown = without_password(value)
            raise ValueError(f"{shown!r} is no URL of a database: write postgresql://user:password@host:5432/name or sqlite:////absolute/path.db")
        return value

    @field_validator("broker_url")
    @classmethod
    def _broker_is_a_url(cls, value: str) -> str:
        if "://" not in value:
            raise ValueError(f"{value.split('@')[-1]!r} is no URL of a broker: write redis://host:6379/0")
        return value

    @field_validator("llm_endpoints", "webhook_endpoints")
    @classmethod
    def _urls_can_be_asked(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for url in value:
            try:
                Link.of(url)
            except ValueError as error:
                raise ValueError(f"{url!r} is no URL that can be asked: {error}") from None
        return value

    @field_validator("llm_base_url", "llm_keys", "llm_endpoints")
    @classmethod
    def _urls_hold_no_secret(cls, value: Any) -> Any:
        """Base URLs are written into jobs, which are stored and shown."""
        for url in [value] if isinstance(value, str) else value:
            if "@" in url.partition("//")[2].partition("/")[0] or "?" in url or "#" in url:
                raise ValueError("a base URL is shown with every job, so it holds no user, password or query: give a key in llm_api_key or llm_keys")
        return value

    @field_validator("private_networks")
    @classmethod
    def _networks_can_be_read(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for network in value:
            try:
                ip_network(network)
            except ValueError as error:
                raise ValueError(f"{error}: write 10.0.0.0/8 or fd00::/8") from None
        return value

    @field_validator("webhook_secret")
    @classmethod
    def _secret_can_sign(cls, value: SecretStr) -> SecretStr:
        try:
            b64decode(value.get_secret_value().removeprefix("whsec_"), validate=True)
        except binascii.Error:
            raise ValueError("webhook_secret is no Standard Webhooks secret: whsec_ and then base64, as `openssl rand -base64 32` gives it") from None
        return value

    @model_validator(mode="after")
    def _heartbeats_fit_the_lease(self) -> "Settings":
        if self.heartbeat_seconds * 2 > self.lease_seconds:
            raise ValueError("lease_seconds must be at least twice heartbeat_seconds, or one late heartbeat loses the chunk")
        return self

    def __hash__(self) -> int:
        """Settings key caches; a dict among them cannot be hashed itself, and equal settings agree in these two."""
        return hash((self.database_url, self.broker_url))

    @property
    def is_embedded(self) -> bool:
        """Whether the broker is a folder of this machine."""
        return self.broker_url.startswith("filesystem://")

    @property
    def is_alone(self) -> bool:
        """Whether one server has all of it: the database or the broker is files of this machine, which a second server would tread on."""
        return self.is_embedded or self.database_url.startswith("sqlite")

    @property
    def broker_folder(self) -> Path:
        """The folder of a `filesystem://` broker."""
        return Path(self.broker_url.removeprefix("filesystem://"))

    @property
    def allowed_roots(self) -> tuple[Path, ...]:
        """The folders whose files jobs may name: as set, else what a service of one's own machine needs, else none."""
        if self.roots is not None:
            return self.roots
        if not (self.is_embedded and is_loopback(self.host)):
            return ()
        here = Path.cwd()
        # Started in the root of the file system, everything would be below.
        own = () if here == Path(here.anchor) else (here,)
        return (*own, EXAMPLES, Path(sysconfig.get_paths()["stdlib"]))

    @property
    def own_folders(self) -> tuple[Path, ...]:
        """The home, and the folder of a database that is a file elsewhere."""
        return (self.home, *{file.parent for file in self._database_files[:1]} - {self.home})

    @property
    def own_paths(self) -> tuple[Path, ...]:
        """The service's own folders and files: database, broker and artifacts of this machine."""
        folders = [self.broker_folder] if self.is_embedded else []
        if self.artifacts.startswith("file://"):
            folders.append(Path(self.artifacts.removeprefix("file://")))
        return (self.home, *folders, *self._database_files)

    @property
    def _database_files(self) -> tuple[Path, ...]:
        database = self.database_url.partition("///")[2].partition("?")[0] if self.database_url.startswith("sqlite") else ""
        return tuple(Path(database + ending) for ending in ("", "-wal", "-shm", "-journal")) if database.strip(":") else ()

    def environment(self) -> dict[str, str]:
        """The variables that give a child process these same settings."""
        values = self.model_dump(mode="json") | {
            "llm_api_key": self.llm_api_key.get_secret_value(),
            "llm_keys": json.dumps({url: key.get_secret_value() for url, key in self.llm_keys.items()}),
            "webhook_secret": self.webhook_secret.get_secret_value(),
            "artifact_options": json.dumps(self.artifact_options),
            "roots": json.dumps([str(root) for root in self.allowed_roots]),
            **{name: json.dumps(getattr(self, name)) for name in ("llm_endpoints", "allowed_hosts", "webhook_endpoints", "private_networks")},
        }
        return {f"GLOSSATOR_{name.upper()}": str(value) for name, value in values.items() if value is not None}

    def secret_environment(self) -> dict[str, str]:
        """Of `environment`, what nobody else may see: keys, and URLs that may hold passwords."""
        return {name: value for name, value in self.environment().items() if name in SECRETS}

    def llm_guard(self) -> OutgoingPolicy:
        """Which endpoints models may be at: those that these settings name."""
        return OutgoingPolicy.of([self.llm_base_url, *self.llm_keys, *self.llm_endpoints], self.private_networks)

    def webhook_guard(self) -> OutgoingPolicy:
        """Where webhooks may go: to the receivers on the list where there is one, else to any."""
        networks = EVERYWHERE if self.webhook_private else self.private_networks
        return OutgoingPolicy.of(self.webhook_endpoints, networks, takes_any=not self.webhook_endpoints)

    def key_of(self, base_url: str) -> str:
        """The key that belongs to an endpoint; empty for one that needs none, or that nobody gave a key for."""
        if base_url.rstrip("/") == self.llm_base_url.rstrip("/"):
            return self.llm_api_key.get_secret_value()
        keys = {url.rstrip("/"): key for url, key in self.llm_keys.items()}
        return keys[base_url.rstrip("/")].get_secret_value() if base_url.rstrip("/") in keys else ""


def is_loopback(host: str) -> bool:
    """Whether an address to listen on is this machine's own."""
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def _listed(value: object, separator: str, example: str) -> object:
    """Splits a text that is a JSON list, or items between separators. Raises ValueError, which shows `example`."""
    if not isinstance(value, str):
        return value
    if value.lstrip().startswith("["):
        try:
            return json.loads(value)
        except ValueError:
            raise ValueError(f"its value is no JSON list: write {example}") from None
    return [part.strip() for part in value.split(separator) if part.strip()]


def _invalid(error: ValidationError | SettingsError) -> SettingsInvalidError:
    """What is wrong, by variable; a value of a secret is never shown."""
    if isinstance(error, SettingsError):
        # pydantic-settings names the field between quotation marks, and nothing else of use.
        field = str(error).split('"')[1] if '"' in str(error) else ""
        wrong = [f"{variable_of(field)}: its value is no JSON."]
        return SettingsInvalidError("The settings cannot be read.", why=" ".join(wrong), cure='Write a JSON object: {"https://host/v1": "key"}.')
    wrong = [": ".join([*(variable_of(str(part)) for part in item["loc"][:1]), item["msg"].removeprefix("Value error, ")]) for item in error.errors()]
    return SettingsInvalidError(
        "The settings cannot be used.", why="; ".join(wrong), cure="Change or unset the variable. docs/deploy.md lists the settings."
    )


def _url_of(place: str) -> str:
    """A URL as it is, a path as that of a file."""
    return place if "://" in place else f"file://{_resolved(place)}"


def _resolved(place: str) -> Path:
    """The absolute path. Raises ValueError for one that leads nowhere: somebody unknown's home, links in a circle, a name that is too long."""
    try:
        found = Path(place).expanduser().resolve()
        found.exists()
    except PermissionError:
        return found
    except (OSError, RuntimeError) as error:
        raise ValueError(f"the path {place[:PATH_SHOWN]!r} leads nowhere: {getattr(error, 'strerror', None) or error}") from None
    return found


@cache
def settings() -> Settings:
    """The settings of this process, read from the environment once."""
    return take_settings()


def take_settings(**values: Any) -> Settings:
    """Settings of the environment and of the parent process; what is secret in the environment then leaves it."""
    take_inherited()
    found = Settings(**values)
    conceal({*SECRETS, "OPENAI_API_KEY"})
    return found

"""All settings, of the environment and of a file; only this module reads the environment."""

import json
import os
import sys
import sysconfig
from functools import cache
from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import SecretStr, ValidationError, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict, SettingsError

from interp.config import settings_file
from interp.config.edge import Edge
from interp.config.environment import check_names, variable_of, variables_of
from interp.config.groups import Inputs, LanguageModels, Observability, Outgoing, Queues, Retention, Server, Storage, Workers
from interp.config.key_file import read_key
from interp.config.logins import Logins
from interp.config.outgoing import EVERYWHERE, OutgoingPolicy
from interp.config.secrets import conceal, take_inherited
from interp.config.settings_file import SettingsFile
from interp.domain.errors import SettingsInvalidError

# The variables whose values are hidden from other processes.
SECRETS = frozenset(
    f"GLOSSATOR_{name}"
    for name in (
        "LLM_API_KEY",
        "LLM_KEYS",
        "WEBHOOK_SECRET",
        "DATABASE_URL",
        "BROKER_URL",
        "ARTIFACT_OPTIONS",
        "ADMIN_KEY",
        "API_KEY",
        "SESSION_SECRET",
        "OIDC_CLIENT_SECRET",
    )
)
PATH_SHOWN = 100
# Models and dictionaries of the package.
EXAMPLES = Path(__file__).parents[2] / "examples"


# The order of the bases is the reverse of the groups': pydantic takes the fields of the last base first.
class Settings(Retention, Observability, Outgoing, LanguageModels, Queues, Workers, Logins, Edge, Server, Inputs, Storage, BaseSettings):
    """All settings; by default everything is in one folder and needs no server."""

    model_config = SettingsConfigDict(env_prefix="GLOSSATOR_", frozen=True, extra="forbid", populate_by_name=True, hide_input_in_errors=True)

    if not TYPE_CHECKING:  # pydantic's plugin knows the fields; this only changes the error

        def __init__(self, **values: Any) -> None:
            """Read environment and file; raises SettingsInvalidError with variable or line, fault and cure."""
            check_names(os.environ, set(type(self).model_fields), sys.stderr)
            file = settings_file.read(os.environ, variables())
            try:
                super().__init__(**({"config": file.path} | file.values | values))
            except (ValidationError, SettingsError) as error:
                raise _invalid(error, file) from error

    @model_validator(mode="before")
    @classmethod
    def _derive(cls, values: dict[str, object]) -> dict[str, object]:
        home = _resolved(str(values.get("home") or ".glossator"))
        return values | {
            "home": home,
            "database_url": values.get("database_url") or f"sqlite:///{home / 'glossator.db'}",
            "broker_url": values.get("broker_url") or f"filesystem://{home / 'broker'}",
            "artifacts_url": _url_of(str(values.get("artifacts_url") or home / "artifacts")),
        }

    def __hash__(self) -> int:
        """Hash two fields, since a dict of the settings is not hashable; caches need it."""
        return hash((self.database_url, self.broker_url))

    @property
    def is_embedded(self) -> bool:
        """Return whether the broker is a local folder."""
        return self.broker_url.startswith("filesystem://")

    @property
    def is_alone(self) -> bool:
        """Return whether only one server may use the home, since it has local files."""
        return self.is_embedded or self.database_url.startswith("sqlite")

    @property
    def broker_folder(self) -> Path:
        """Return the folder of a `filesystem://` broker."""
        return Path(self.broker_url.removeprefix("filesystem://"))

    @property
    def shown_broker(self) -> str:
        """Return the broker's folder, or its URL without user and password."""
        return str(self.broker_folder) if self.is_embedded else self.broker_url.split("@")[-1]

    @property
    def allowed_roots(self) -> tuple[Path, ...]:
        """Return the folders of jobs' files: as set, or a local service's, or none."""
        if self.roots is not None:
            return self.roots
        if not (self.is_embedded and is_loopback(self.host)):
            return ()
        here = Path.cwd()
        # A service started in the root of the file system would allow all files.
        own = () if here == Path(here.anchor) else (here,)
        return (*own, EXAMPLES, Path(sysconfig.get_paths()["stdlib"]))

    @property
    def uploads_folder(self) -> Path:
        """Return the local folder of the uploads that were fetched."""
        return self.home / "cache" / "uploads"

    @property
    def own_folders(self) -> tuple[Path, ...]:
        """Return the home, and the folder of a database file elsewhere."""
        return (self.home, *{file.parent for file in self._database_files[:1]} - {self.home})

    @property
    def own_paths(self) -> tuple[Path, ...]:
        """Return the service's own local folders and files: database, broker and artifacts."""
        folders = [self.broker_folder] if self.is_embedded else []
        if self.artifacts_url.startswith("file://"):
            folders.append(Path(self.artifacts_url.removeprefix("file://")))
        return (self.home, *folders, *self._database_files)

    @property
    def _database_files(self) -> tuple[Path, ...]:
        database = self.database_url.partition("///")[2].partition("?")[0] if self.database_url.startswith("sqlite") else ""
        return tuple(Path(database + ending) for ending in ("", "-wal", "-shm", "-journal")) if database.strip(":") else ()

    def environment(self) -> dict[str, str]:
        """Return the variables that give a child process the same settings."""
        values = {name: getattr(self, name) for name in type(self).model_fields} | {"roots": self.allowed_roots}
        return {variable_of(name): _plain(value) for name, value in values.items() if value is not None}

    def secret_environment(self) -> dict[str, str]:
        """Return the secrets of `environment`: keys, and URLs that may have passwords."""
        return {name: value for name, value in self.environment().items() if name in SECRETS}

    def llm_guard(self) -> OutgoingPolicy:
        """Return the policy for models' endpoints: those in these settings."""
        return OutgoingPolicy.of([self.llm_base_url, *self.llm_keys, *self.llm_endpoints], self.allowed_private_networks)

    def webhook_guard(self) -> OutgoingPolicy:
        """Return the policy for webhooks: the listed receivers, or all without a list."""
        networks = EVERYWHERE if self.webhook_allow_private_networks else self.allowed_private_networks
        return OutgoingPolicy.of(self.webhook_endpoints, networks, takes_any=not self.webhook_endpoints)

    @property
    def client_key(self) -> str | None:
        """Return the key that commands send; raises SettingsInvalidError for a file that others may read."""
        if self.api_key_file is None or self.api_key.get_secret_value():
            return self.api_key.get_secret_value() or None
        return read_key(self.api_key_file)

    def key_of(self, base_url: str) -> str:
        """Return the key of an endpoint, or an empty text."""
        if base_url.rstrip("/") == self.llm_base_url.rstrip("/"):
            return self.llm_api_key.get_secret_value()
        keys = {url.rstrip("/"): key for url, key in self.llm_keys.items()}
        return keys[base_url.rstrip("/")].get_secret_value() if base_url.rstrip("/") in keys else ""


def is_loopback(host: str) -> bool:
    """Return whether only this machine can reach an address to listen on."""
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def variables() -> dict[str, tuple[str, ...]]:
    """Return the variables of each setting."""
    return {name: variables_of(name, field) for name, field in Settings.model_fields.items()}


def _invalid(error: ValidationError | SettingsError, file: SettingsFile) -> SettingsInvalidError:
    """Return the error with the fault of each variable or line, without values of secrets."""
    if isinstance(error, SettingsError):
        # pydantic-settings names only the field, between quotation marks.
        field = str(error).split('"')[1] if '"' in str(error) else ""
        wrong = [f"{variable_of(field)}: its value is no JSON."]
        return SettingsInvalidError("The settings cannot be read.", why=" ".join(wrong), cure='Write a JSON object: {"https://host/v1": "key"}.')
    places = {name: f"{file.place(name)}: {name}" for name in file.values}
    named = [(*(places.get(str(part)) or variable_of(str(part)) for part in item["loc"][:1]), item["msg"]) for item in error.errors()]
    wrong = [": ".join(part.removeprefix("Value error, ") for part in parts) for parts in named]
    changed = "Change or unset the variable." if not file.values else "Change the line or the variable."
    return SettingsInvalidError("The settings cannot be used.", why="; ".join(wrong), cure=f"{changed} docs/deploy.md lists the settings.")


def _plain(value: Any) -> str:
    """Return a value in its variable's form."""
    if isinstance(value, SecretStr):
        return value.get_secret_value()
    return json.dumps(value, default=_plain) if isinstance(value, dict | tuple) else str(value)


def _url_of(place: str) -> str:
    """Return a URL unchanged, and a path as a file URL."""
    return place if "://" in place else f"file://{_resolved(place)}"


def _resolved(place: str) -> Path:
    """Return the absolute path; raises ValueError for unknown users, circular links and long names."""
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
    """Return the settings of this process, read from the environment once."""
    return take_settings()


def take_settings(**values: Any) -> Settings:
    """Return settings of environment and parent process, and remove their secrets from the environment."""
    take_inherited()
    found = Settings(**values)
    conceal({*SECRETS, "OPENAI_API_KEY"})
    return found

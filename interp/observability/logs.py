"""Log on standard error: one line per event, with ids of request, job and chunk.

`get_logger` returns structlog's loggers; the standard library's loggers, and so those of all libraries, use the same handler. `bound` binds ids for a
block, and for threads and event loops that are given its context.
"""

import json
import logging
import re
import sys
import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager
from types import TracebackType
from typing import Any, TextIO
from urllib.parse import unquote, urlsplit

import structlog
from opentelemetry import trace
from structlog.typing import EventDict, Processor, WrappedLogger

from interp.config.settings import Settings
from interp.domain.cleaning import lines, visible

# Packages whose lines below a warning are written. Libraries log a line per call at `info`, and headers and requests at `debug`.
OURS = ("api", "interp", "migrations", "workers")
HIDDEN = "***"
SECRET_NAMES = re.compile(r"key|secret|token|password", re.IGNORECASE)
# Forms of secrets: credentials in headers, passwords in URLs (between `://user:` and `@`, not the port of `://host:8000/`), usual keys.
SECRETS = re.compile(
    r"(?i)(?P<before>\b(?:bearer|basic)\s+)[^\s@\"',;]+"
    r"|(?P<url>://[^\s/:@\[]*:)(?!\d{1,5}(?:[/?#]|$))(?:[^\s/\"',;]*|[^\s@\"',;]*)(?P<after>@)"
    r"|\b(?:sk|whsec)[-_][\w/+=-]{8,}"
    r"|\bgl_[0-9a-f]{8}_[0-9a-f]{8,}"
)
SEVERAL_LINES = ("exception", "stack")
INDENT = "  "
# Removing shorter secrets would remove ordinary words from the log.
MIN_SECRET_LENGTH = 6

# Values of structlog's loggers are the records' `extra`: a program without its own log gets plain lines from `logging`.
structlog.configure(
    processors=[structlog.stdlib.filter_by_level, structlog.stdlib.render_to_log_kwargs],
    wrapper_class=structlog.stdlib.BoundLogger,
    logger_factory=structlog.stdlib.LoggerFactory(),
    cache_logger_on_first_use=True,
)


def get_logger(name: str) -> structlog.stdlib.BoundLogger:
    """Return a logger of events and values: `log.info("call", model=..., seconds=...)`."""
    logger: structlog.stdlib.BoundLogger = structlog.stdlib.get_logger(name)
    return logger


def bound(**ids: object) -> AbstractContextManager[object]:
    """Bind these values to all lines written inside."""
    return structlog.contextvars.bound_contextvars(**ids)


def configure(settings: Settings, name: str | None = None, stream: TextIO | None = None) -> None:
    """Set up this process's log; each line has the worker's `name`."""
    target = stream or sys.stderr
    handler = logging.StreamHandler(target)
    handler.setFormatter(_formatter(settings, name, target.isatty()))
    handler.addFilter(_is_logged)
    level = logging.getLevelNamesMapping()[settings.log_level.upper()]
    logging.basicConfig(level=max(logging.WARNING, level), handlers=[handler], force=True)
    for name in OURS:
        logging.getLogger(name).setLevel(level)
    logging.captureWarnings(True)
    if stream is None:
        # Uncaught errors are logged, without their secrets.
        sys.excepthook = _uncaught
        threading.excepthook = lambda found: _uncaught(found.exc_type, found.exc_value, found.exc_traceback)


def _uncaught(kind: type[BaseException], error: BaseException | None, trace: TracebackType | None) -> None:
    if issubclass(kind, KeyboardInterrupt | SystemExit):
        return
    logging.getLogger(__name__).critical("an error that nothing caught", exc_info=(kind, error or kind(), trace))


def _is_logged(record: logging.LogRecord) -> bool:
    """Return whether a record is ours or a warning, whatever its library's levels."""
    return record.levelno >= logging.WARNING or record.name.partition(".")[0] in OURS


def _formatter(settings: Settings, name: str | None, colours: bool) -> logging.Formatter:
    def named(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
        if name is not None:
            event["worker"] = name
        return event

    renderers: list[Processor]
    if settings.log_format == "json":
        renderers = [structlog.processors.JSONRenderer()]
    else:
        renderers = [_clean, structlog.dev.ConsoleRenderer(colors=colours, exception_formatter=structlog.dev.plain_traceback)]
    return structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=[
            structlog.contextvars.merge_contextvars,
            structlog.stdlib.ExtraAdder(),
            structlog.stdlib.add_log_level,
            structlog.stdlib.add_logger_name,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            named,
            _with_trace,
        ],
        # Python's own tracebacks, since rich's print local variables, including keys.
        processors=[
            structlog.stdlib.ProcessorFormatter.remove_processors_meta,
            structlog.processors.format_exc_info,
            *renderers,
            _HideSecrets(secrets_of(settings)),
        ],
    )


def _clean(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """Remove control characters from a line for people, before it is coloured.

    Values of several lines are indented, so that none looks like a line of the log.
    """
    for name, value in event.items():
        if name in SEVERAL_LINES and isinstance(value, str):
            event[name] = INDENT + lines(value).replace("\n", f"\n{INDENT}")
        elif isinstance(value, str):
            event[name] = visible(value)
    return event


def secrets_of(settings: Settings) -> frozenset[str]:
    """Return all secrets of the settings, each also in its JSON form."""
    signing = settings.webhook_secret.get_secret_value()
    found = [settings.llm_api_key.get_secret_value(), signing, signing.removeprefix("whsec_")]
    found += [settings.session_secret.get_secret_value(), settings.oidc_client_secret.get_secret_value()]
    found += [key.get_secret_value() for key in settings.llm_keys.values()]
    found += list(_secret_values(settings.artifact_options))
    for url in (settings.database_url, settings.broker_url):
        password = urlsplit(url).password or ""
        found += [password, unquote(password)]
    return frozenset(text for secret in found for text in (secret, json.dumps(secret)[1:-1]) if len(text) >= MIN_SECRET_LENGTH)


def _secret_values(options: dict[str, Any]) -> Iterator[str]:
    for name, value in options.items():
        if isinstance(value, dict):
            yield from _secret_values(value)
        elif SECRET_NAMES.search(name):
            yield str(value)


class _HideSecrets:
    """Remove secrets from the finished line, with its traceback and libraries' messages."""

    def __init__(self, secrets: frozenset[str]) -> None:
        known = "|".join(map(re.escape, sorted(secrets, key=len, reverse=True)))
        self._known = re.compile(known) if known else None

    def __call__(self, _logger: WrappedLogger, _method: str, line: Any) -> str:
        hidden = SECRETS.sub(lambda found: f"{found['before'] or found['url'] or ''}{HIDDEN}{found['after'] or ''}", str(line))
        return self._known.sub(HIDDEN, hidden) if self._known else hidden


def _with_trace(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """Add the ids of the current span."""
    context = trace.get_current_span().get_span_context()
    if context.is_valid:
        event["trace_id"], event["span_id"] = trace.format_trace_id(context.trace_id), trace.format_span_id(context.span_id)
    return event

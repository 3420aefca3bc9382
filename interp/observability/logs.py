"""The log: one line an event, with the ids of the request, job and chunk that it belongs to, whoever wrote it, on standard error.

`get_logger` gives structlog's loggers; those of the standard library, and so of every library, come out of the same handler. Ids are bound by
`bound`, for all that happens inside, on threads and event loops that are handed the context, too.
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

# Whose lines below a warning are written. A library tells at `info` what only its authors want to know (the HTTP client a line a call), and at
# `debug` what nobody should: headers, and whole requests. By our own names, since a list of theirs is wrong with the next library or its next name.
OURS = ("api", "interp", "migrations", "workers")
HIDDEN = "***"
SECRET_NAMES = re.compile(r"key|secret|token|password", re.IGNORECASE)
# What looks like a secret wherever it comes from: credentials in headers, passwords in URLs (what stands between `://user:` and `@`, not the port of
# `://host:8000/`), keys of the usual shape.
SECRETS = re.compile(
    r"(?i)(?P<before>\b(?:bearer|basic)\s+)[^\s@\"',;]+"
    r"|(?P<url>://[^\s/:@\[]*:)(?!\d{1,5}(?:[/?#]|$))(?:[^\s/\"',;]*|[^\s@\"',;]*)(?P<after>@)"
    r"|\b(?:sk|whsec)[-_][\w/+=-]{8,}"
)
SEVERAL_LINES = ("exception", "stack")
INDENT = "  "
# Shorter ones would take words out of the log that are no secret.
SHORTEST = 6

# Records carry what structlog's loggers were given as `extra`: a program that sets up no log of its own gets plain lines from `logging`.
structlog.configure(
    processors=[structlog.stdlib.filter_by_level, structlog.stdlib.render_to_log_kwargs],
    wrapper_class=structlog.stdlib.BoundLogger,
    logger_factory=structlog.stdlib.LoggerFactory(),
    cache_logger_on_first_use=True,
)


def get_logger(name: str) -> structlog.stdlib.BoundLogger:
    """A logger whose methods take an event and its values: `log.info("call", model=..., seconds=...)`."""
    logger: structlog.stdlib.BoundLogger = structlog.stdlib.get_logger(name)
    return logger


def bound(**ids: object) -> AbstractContextManager[object]:
    """Every line that is written inside has these values."""
    return structlog.contextvars.bound_contextvars(**ids)


def configure(settings: Settings, name: str | None = None, stream: TextIO | None = None) -> None:
    """Sets up this process's log as `settings` say. `name` is the worker's, and stands in each of its lines."""
    target = stream or sys.stderr
    handler = logging.StreamHandler(target)
    handler.setFormatter(_formatter(settings, name, target.isatty()))
    handler.addFilter(_is_told)
    level = logging.getLevelNamesMapping()[settings.log_level.upper()]
    logging.basicConfig(level=max(logging.WARNING, level), handlers=[handler], force=True)
    for name in OURS:
        logging.getLogger(name).setLevel(level)
    logging.captureWarnings(True)
    if stream is None:
        # What nobody caught goes the same way, and not to standard error as it is.
        sys.excepthook = _uncaught
        threading.excepthook = lambda found: _uncaught(found.exc_type, found.exc_value, found.exc_traceback)


def _uncaught(kind: type[BaseException], error: BaseException | None, trace: TracebackType | None) -> None:
    if issubclass(kind, KeyboardInterrupt | SystemExit):
        return
    logging.getLogger(__name__).critical("an error that nothing caught", exc_info=(kind, error or kind(), trace))


def _is_told(record: logging.LogRecord) -> bool:
    """Whether a line is ours or a warning. Libraries that set the level of their own loggers (uvicorn, alembic) get no further."""
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
        # Python's own tracebacks, not rich's: those print local variables, keys among them.
        processors=[
            structlog.stdlib.ProcessorFormatter.remove_processors_meta,
            structlog.processors.format_exc_info,
            *renderers,
            _Hide(secrets_of(settings)),
        ],
    )


def _clean(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """Takes controls out of a line for people, before it is coloured: a value may hold anything, but neither colours nor lines of its own.

    What stands in several lines is moved in, so that none of them passes for a line of the log.
    """
    for name, value in event.items():
        if name in SEVERAL_LINES and isinstance(value, str):
            event[name] = INDENT + lines(value).replace("\n", f"\n{INDENT}")
        elif isinstance(value, str):
            event[name] = visible(value)
    return event


def secrets_of(settings: Settings) -> frozenset[str]:
    """Every secret that the settings hold, each also as JSON writes it."""
    signing = settings.webhook_secret.get_secret_value()
    found = [settings.llm_api_key.get_secret_value(), signing, signing.removeprefix("whsec_")]
    found += [key.get_secret_value() for key in settings.llm_keys.values()]
    found += list(_secret_values(settings.artifact_options))
    for url in (settings.database_url, settings.broker_url):
        password = urlsplit(url).password or ""
        found += [password, unquote(password)]
    return frozenset(text for secret in found for text in (secret, json.dumps(secret)[1:-1]) if len(text) >= SHORTEST)


def _secret_values(options: dict[str, Any]) -> Iterator[str]:
    for name, value in options.items():
        if isinstance(value, dict):
            yield from _secret_values(value)
        elif SECRET_NAMES.search(name):
            yield str(value)


class _Hide:
    """The last step: takes secrets out of the line, whichever way they came in, tracebacks and other people's messages included."""

    def __init__(self, secrets: frozenset[str]) -> None:
        known = "|".join(map(re.escape, sorted(secrets, key=len, reverse=True)))
        self._known = re.compile(known) if known else None

    def __call__(self, _logger: WrappedLogger, _method: str, line: Any) -> str:
        hidden = SECRETS.sub(lambda found: f"{found['before'] or found['url'] or ''}{HIDDEN}{found['after'] or ''}", str(line))
        return self._known.sub(HIDDEN, hidden) if self._known else hidden


def _with_trace(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """The ids that lead from a line to its span, where there is one."""
    context = trace.get_current_span().get_span_context()
    if context.is_valid:
        event["trace_id"], event["span_id"] = trace.format_trace_id(context.trace_id), trace.format_span_id(context.span_id)
    return event

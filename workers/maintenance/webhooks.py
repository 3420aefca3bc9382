"""Deliver due webhooks at least once: claim, send, mark; in any number of processes."""

import json
import logging
import ssl
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache

import anyio
import httpx
from standardwebhooks import Webhook as Signer

from interp.config.settings import Settings
from interp.domain.cleaning import one_line
from interp.domain.errors import WebhookRefusedError
from interp.security.addresses import ResolvedUrl, find
from interp.store.db.engine import Engine, transaction
from interp.store.queue import webhooks
from interp.store.queue.webhooks import Delivery

log = logging.getLogger(__name__)

# Sent concurrently: an unresponsive receiver delays no more than these.
AT_ONCE = 32
# Added to the attempt's time, to record how it ended before another process may claim it.
SPARE_SECONDS = 10.0
LONGEST_REASON = 300


@dataclass(frozen=True, slots=True)
class DeliveryResult:
    """The result of an attempt: `reason` (None: delivered); `is_hopeless` where further attempts are useless."""

    delivery: Delivery
    reason: str | None = None
    is_hopeless: bool = False


def deliver_due(engine: Engine, settings: Settings) -> int:
    """Send due deliveries once; return the number of attempts; raises the database's errors."""
    tried = 0
    while True:
        with transaction(engine) as session:
            due = webhooks.take(session, AT_ONCE, settings.webhook_timeout_seconds + SPARE_SECONDS)
        if not due:
            return tried
        outcomes = anyio.run(_send_all, due, settings)
        with transaction(engine) as session:
            for outcome in outcomes:
                if outcome.reason is None:
                    webhooks.delivered(session, outcome.delivery)
                else:
                    is_last = outcome.is_hopeless or outcome.delivery.attempt >= settings.webhook_max_attempts
                    webhooks.missed(session, outcome.delivery, outcome.reason, is_last)
                    log.warning("webhook %s, attempt %d%s: %s", outcome.delivery.id, outcome.delivery.attempt, ", the last" * is_last, outcome.reason)
        tried += len(due)


def signed(delivery: Delivery, secret: str, moment: datetime) -> tuple[dict[str, str], bytes]:
    """Return one attempt's headers and body by the Standard Webhooks specification, unsigned without secret."""
    body = json.dumps(delivery.payload, ensure_ascii=False, separators=(",", ":"))
    headers = {
        "content-type": "application/json",
        "user-agent": "glossator",
        "webhook-id": delivery.id,
        "webhook-timestamp": str(int(moment.timestamp())),
    }
    if secret:
        headers["webhook-signature"] = Signer(secret).sign(delivery.id, moment, body)
    return headers, body.encode()


async def _send_all(due: list[Delivery], settings: Settings) -> list[DeliveryResult]:
    outcomes: list[DeliveryResult] = []

    async def one(delivery: Delivery) -> None:
        outcomes.append(await _send(client, delivery, settings))

    # No proxy of the environment: it would look up the name itself, and bypass the check of the address.
    async with (
        httpx.AsyncClient(verify=_tls(), trust_env=False, timeout=settings.webhook_timeout_seconds) as client,
        anyio.create_task_group() as group,
    ):
        for delivery in due:
            group.start_soon(one, delivery)
    return outcomes


async def _send(client: httpx.AsyncClient, delivery: Delivery, settings: Settings) -> DeliveryResult:
    if delivery.attempt > settings.webhook_max_attempts:
        return DeliveryResult(delivery, "the process that made the last attempt died during it", is_hopeless=True)
    try:
        with anyio.fail_after(settings.webhook_timeout_seconds):
            place = await anyio.to_thread.run_sync(find, delivery.url, settings.webhook_guard(), abandon_on_cancel=True)
            status = await _post(client, place, *signed(delivery, settings.webhook_secret.get_secret_value(), datetime.now(UTC)))
    except WebhookRefusedError as error:
        return DeliveryResult(delivery, str(error), is_hopeless=True)
    except TimeoutError:
        return DeliveryResult(delivery, f"no answer within {settings.webhook_timeout_seconds:g} s")
    except (httpx.HTTPError, OSError) as error:
        return DeliveryResult(delivery, one_line(f"{type(error).__name__}: {error}", LONGEST_REASON))
    return _result_of(delivery, status)


async def _post(client: httpx.AsyncClient, place: ResolvedUrl, headers: dict[str, str], body: bytes) -> int:
    """Return the answer's status; connects to checked addresses only, since DNS may change."""
    named = headers | {"host": place.url.netloc.decode("ascii")}
    for address in place.addresses:
        url = place.url.copy_with(host=str(address))
        try:
            async with client.stream("POST", url, content=body, headers=named, extensions={"sni_hostname": place.name}) as response:
                return response.status_code
        except httpx.ConnectError:
            if address is place.addresses[-1]:
                raise
    raise httpx.ConnectError(f"{place.name} has no address")


def _result_of(delivery: Delivery, status: int) -> DeliveryResult:
    if 200 <= status < 300:
        return DeliveryResult(delivery)
    if 300 <= status < 400:
        return DeliveryResult(delivery, f"the receiver answered {status}, and redirects are not followed")
    # The specification's status of a receiver that wants no more events.
    return DeliveryResult(delivery, f"the receiver answered {status}", is_hopeless=status == httpx.codes.GONE)


@cache
def _tls() -> ssl.SSLContext:
    """Return certificates of SSL_CERT_FILE where set, else certifi's, as other HTTP clients here."""
    return httpx.create_ssl_context()

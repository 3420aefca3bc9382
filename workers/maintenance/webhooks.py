"""Delivery of webhooks: due ones are claimed in the database, sent, and marked. At least once, from any number of processes."""

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

# Sent concurrently: a receiver that does not answer delays no more than these.
AT_ONCE = 32
# Beside the attempt itself: time to record how it ended before another process may claim it.
SPARE_SECONDS = 10.0
LONGEST_REASON = 300


@dataclass(frozen=True, slots=True)
class DeliveryResult:
    """Describe how an attempt ended: `reason` is None for a delivery; `is_hopeless` where no further attempt would help."""

    delivery: Delivery
    reason: str | None = None
    is_hopeless: bool = False


def deliver_due(engine: Engine, settings: Settings) -> int:
    """Send what is due, once each; return the number of attempts. Raises what the database raises."""
    tried = 0
    while due := _take(engine, settings):
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
    return tried


def signed(delivery: Delivery, secret: str, moment: datetime) -> tuple[dict[str, str], bytes]:
    """Return headers and body of one attempt, as the Standard Webhooks specification has them; unsigned without a secret."""
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


def _take(engine: Engine, settings: Settings) -> list[Delivery]:
    with transaction(engine) as session:
        return webhooks.take(session, AT_ONCE, settings.webhook_timeout_seconds + SPARE_SECONDS)


async def _send_all(due: list[Delivery], settings: Settings) -> list[DeliveryResult]:
    outcomes: list[DeliveryResult] = []

    async def one(delivery: Delivery) -> None:
        outcomes.append(await _send(client, delivery, settings))

    # No proxy of the environment: it would look up the name itself, and the check of the address would not hold.
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
    """Return the answer's status. Connects to the addresses that were checked, in turn: a name may resolve otherwise a moment later."""
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
    # The specification's word for a receiver that wants no more.
    return DeliveryResult(delivery, f"the receiver answered {status}", is_hopeless=status == httpx.codes.GONE)


@cache
def _tls() -> ssl.SSLContext:
    """Return certificates as other Python HTTP clients here use them: SSL_CERT_FILE where it is set, else certifi's."""
    return httpx.create_ssl_context()

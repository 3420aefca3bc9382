"""Webhooks reach a real receiver: signed, at least once, never a private address unless allowed, and given up with the reason kept."""

import json
import ssl
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import Engine, update
from standardwebhooks import Webhook as Verifier

from interp.config.settings import Settings
from interp.domain.lifecycle import JobStatus
from interp.domain.spec import JobSpec, WebhookSpec
from interp.store.db.engine import make_engine, snapshot, transaction
from interp.store.db.tables import WebhookRow
from interp.store.queue import webhooks
from tests.store import steps
from tests.workers.receiver import Receiver, receiver
from workers.maintenance.webhooks import deliver_due

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
PATH = "/hooks/glossator"


@pytest.fixture
def to() -> Iterator[Receiver]:
    with receiver() as found:
        yield found


@pytest.fixture
def allowed(settings: Settings) -> Settings:
    """Settings that let webhooks go to this machine."""
    return settings.model_copy(update={"webhook_allow_private_networks": True, "webhook_timeout_seconds": 5.0})


def owed(engine: Engine, url: str, status: JobStatus = JobStatus.COMPLETED) -> str:
    """A job whose receiver is owed an event; returns the job's id."""
    spec: JobSpec = steps.SPEC.model_copy(update={"webhook": WebhookSpec(url=url)})
    job_id = steps.submit(engine, spec)
    with transaction(engine) as session:
        webhooks.changed(session, job_id, status)
    return job_id


def only(engine: Engine, job_id: str) -> WebhookRow:
    with snapshot(engine) as session:
        [found] = webhooks.of_job(session, job_id)
    return found


def make_due(engine: Engine) -> None:
    """Time passes: whatever is put off is due."""
    with transaction(engine) as session:
        session.execute(
            update(WebhookRow).where(WebhookRow.next_attempt_at.is_not(None)).values(next_attempt_at=datetime.now(UTC) - timedelta(seconds=1))
        )


def test_the_receiver_can_verify_who_sent_the_event_and_reads_which_job_it_is(engine: Engine, allowed: Settings, to: Receiver) -> None:
    signing = Settings(**dict(allowed) | {"webhook_secret": SECRET})
    job_id = owed(engine, to.url + PATH)
    assert deliver_due(engine, signing) == 1
    [sent] = to.sent
    assert sent.path == PATH
    assert Verifier(SECRET).verify(sent.body, sent.headers) == sent.json
    with pytest.raises(Exception, match="No matching signature"):
        Verifier(SECRET).verify(sent.body.replace(b"completed", b"failed"), sent.headers)
    assert (sent.json["type"], sent.json["data"]["id"], sent.json["data"]["url"]) == ("job.completed", job_id, f"/v1/jobs/{job_id}")
    row = only(engine, job_id)
    assert sent.headers["webhook-id"] == row.id
    assert (row.attempts, row.next_attempt_at, row.error) == (1, None, None)
    assert row.delivered_at is not None


def test_without_a_secret_there_is_no_signature(engine: Engine, allowed: Settings, to: Receiver) -> None:
    owed(engine, to.url)
    deliver_due(engine, allowed)
    assert "webhook-signature" not in to.sent[0].headers


def test_what_was_delivered_is_not_sent_again(engine: Engine, allowed: Settings, to: Receiver) -> None:
    owed(engine, to.url)
    assert deliver_due(engine, allowed) == 1
    make_due(engine)
    assert deliver_due(engine, allowed) == 0
    assert len(to.sent) == 1


def test_a_receiver_that_fails_is_tried_again_later_and_later_under_the_same_id(engine: Engine, allowed: Settings, to: Receiver) -> None:
    to.answers = [500, 503, 200]
    job_id = owed(engine, to.url)
    waits = []
    for _ in range(2):
        before = datetime.now(UTC)
        deliver_due(engine, allowed)
        row = only(engine, job_id)
        assert row.next_attempt_at is not None
        waits.append((row.next_attempt_at - before).total_seconds())
        assert deliver_due(engine, allowed) == 0, "it is not its time yet"
        make_due(engine)
    assert 1.5 < waits[1] / waits[0] < 2.5
    assert "503" in (row.error or "")
    deliver_due(engine, allowed)
    row = only(engine, job_id)
    assert row.delivered_at is not None
    assert (row.attempts, row.error) == (3, None)
    assert len({sent.headers["webhook-id"] for sent in to.sent}) == 1
    assert len({sent.body for sent in to.sent}) == 1


def test_it_is_given_up_after_so_many_tries_and_the_reason_is_kept(engine: Engine, allowed: Settings, to: Receiver) -> None:
    to.answers = [500]
    job_id = owed(engine, to.url)
    few = allowed.model_copy(update={"webhook_max_attempts": 3})
    for _ in range(5):
        make_due(engine)
        deliver_due(engine, few)
    row = only(engine, job_id)
    assert (len(to.sent), row.attempts, row.next_attempt_at, row.delivered_at) == (3, 3, None, None)
    assert row.error == "the receiver answered 500"


def test_a_receiver_that_wants_no_more_is_left_alone(engine: Engine, allowed: Settings, to: Receiver) -> None:
    to.answers = [410]
    job_id = owed(engine, to.url)
    deliver_due(engine, allowed)
    assert only(engine, job_id).next_attempt_at is None


def test_a_redirect_is_not_followed(engine: Engine, allowed: Settings, to: Receiver) -> None:
    with receiver() as other:
        to.answers, to.location = [307], other.url
        job_id = owed(engine, to.url)
        deliver_due(engine, allowed)
        assert other.sent == []
    assert "redirects are not followed" in (only(engine, job_id).error or "")


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "[::ffff:127.0.0.1]", "2130706433"])
def test_a_private_address_is_never_asked_however_it_is_written(engine: Engine, settings: Settings, to: Receiver, host: str) -> None:
    job_id = owed(engine, to.url.replace("127.0.0.1", host))
    deliver_due(engine, settings)
    row = only(engine, job_id)
    assert to.sent == []
    assert row.next_attempt_at is None, "no later try would change that"
    assert "private network" in (row.error or "")


def test_a_name_is_asked_at_the_address_that_was_looked_at_and_hears_its_own_name(engine: Engine, allowed: Settings) -> None:
    with receiver("localhost") as named:
        owed(engine, named.url)
        deliver_due(engine, allowed)
        assert [sent.headers["host"] for sent in named.sent] == [named.url.removeprefix("http://")]


def test_a_certificate_is_held_against_the_name_and_not_the_address(
    engine: Engine, allowed: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from workers.maintenance.webhooks import _tls

    good, bad = certificate(tmp_path, "localhost"), certificate(tmp_path, "elsewhere.example")
    for files, reached in ((good, True), (bad, False)):
        monkeypatch.setenv("SSL_CERT_FILE", str(files))
        _tls.cache_clear()
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(files)
        with receiver("localhost", context) as named:
            job_id = owed(engine, named.url)
            deliver_due(engine, allowed)
            assert bool(named.sent) is reached
        assert (only(engine, job_id).error is None) is reached
    _tls.cache_clear()


def test_a_receiver_that_drips_is_given_its_time_and_no_more(engine: Engine, allowed: Settings, to: Receiver) -> None:
    to.holding.set()
    job_id = owed(engine, to.url)
    deliver_due(engine, allowed.model_copy(update={"webhook_timeout_seconds": 0.3}))
    row = only(engine, job_id)
    assert row.error == "no answer within 0.3 s"
    assert row.next_attempt_at is not None


def test_nobody_at_the_address_and_no_such_name_are_reasons(engine: Engine, allowed: Settings) -> None:
    nobody, unknown = owed(engine, "http://127.0.0.1:1/"), owed(engine, "http://no-such-host.invalid/")
    deliver_due(engine, allowed)
    assert "ConnectError" in (only(engine, nobody).error or "")
    assert "gaierror" in (only(engine, unknown).error or "")


def test_many_processes_send_each_event_once(database_url: str, engine: Engine, allowed: Settings, to: Receiver) -> None:
    jobs = {owed(engine, to.url) for _ in range(40)}
    start = threading.Barrier(4)

    def process() -> None:
        own = make_engine(database_url)
        start.wait()
        deliver_due(own, allowed)
        own.dispose()

    threads = [threading.Thread(target=process) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(json.loads(sent.body)["data"]["id"] for sent in to.sent) == sorted(jobs)


def test_a_process_that_dies_over_a_try_delays_the_event_and_loses_nothing(engine: Engine, allowed: Settings, to: Receiver) -> None:
    job_id = owed(engine, to.url)
    with transaction(engine) as session:
        assert len(webhooks.take(session, 10, 60.0)) == 1
    assert deliver_due(engine, allowed) == 0, "it may yet be under way"
    make_due(engine)
    assert deliver_due(engine, allowed) == 1
    assert only(engine, job_id).attempts == 2


def test_a_process_that_died_over_the_last_try_leaves_a_reason(engine: Engine, allowed: Settings, to: Receiver) -> None:
    job_id = owed(engine, to.url)
    once = allowed.model_copy(update={"webhook_max_attempts": 1})
    with transaction(engine) as session:
        webhooks.take(session, 10, 60.0)
    make_due(engine)
    deliver_due(engine, once)
    row = only(engine, job_id)
    assert to.sent == []
    assert row.next_attempt_at is None
    assert "died" in (row.error or "")


def test_a_try_that_comes_too_late_does_not_undo_what_another_process_did(engine: Engine, allowed: Settings, to: Receiver) -> None:
    job_id = owed(engine, to.url)
    with transaction(engine) as session:
        [late] = webhooks.take(session, 10, -1.0)
    deliver_due(engine, allowed)
    with transaction(engine) as session:
        webhooks.missed(session, late, "too late", is_last=False)
    row = only(engine, job_id)
    assert row.delivered_at is not None
    assert (row.error, row.next_attempt_at) == (None, None)


def certificate(folder: Path, name: str) -> Path:
    """A certificate of its own authority for a name, with its key, as one PEM file."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key, moment = ec.generate_private_key(ec.SECP256R1()), datetime.now(UTC)
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    made = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(moment - timedelta(days=1))
        .not_valid_after(moment + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    secret = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    file = folder / f"{name}.pem"
    file.write_bytes(made.public_bytes(serialization.Encoding.PEM) + secret)
    return file

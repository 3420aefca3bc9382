"""Whether the broker can be reached: a real connection, for `/readyz` and `glossator doctor`."""

from interp.config.settings import Settings
from interp.domain.errors import BrokerUnreachableError
from interp.files.atomic import is_writable

SECONDS = 2.0


def check_broker(settings: Settings) -> None:
    """Raises BrokerUnreachable where the broker cannot be used."""
    if fault := broker_fault(settings):
        shown, cure = shown_broker(settings), broker_cure(settings)
        raise BrokerUnreachableError(f"The broker {shown} cannot be used.", why=fault[:1].upper() + fault[1:] + ".", cure=cure)


def shown_broker(settings: Settings) -> str:
    """The broker without its password."""
    return str(settings.broker_folder) if settings.is_embedded else settings.broker_url.split("@")[-1]


def broker_cure(settings: Settings) -> str:
    """What to do where it cannot be used."""
    return "Give yourself the right to write there, or set GLOSSATOR_HOME." if settings.is_embedded else "Start it, or set GLOSSATOR_BROKER_URL."


def broker_fault(settings: Settings) -> str | None:
    """What is wrong with the broker; None when all is well. Takes `SECONDS` at most, or a little more."""
    if settings.is_embedded:
        return None if is_writable(settings.broker_folder) else f"cannot be written to: {settings.broker_folder}"
    # A process that has no broker does without kombu.
    from kombu import Connection

    timeouts = {"socket_connect_timeout": SECONDS, "socket_timeout": SECONDS}
    try:
        with Connection(settings.broker_url, connect_timeout=SECONDS, transport_options=timeouts) as connection:
            connection.ensure_connection(max_retries=1, interval_start=0, interval_step=0, timeout=SECONDS)
            connection.default_channel.close()
    except Exception as error:  # each transport has errors of its own, and all mean the same here
        return f"does not answer: {error}"
    return None

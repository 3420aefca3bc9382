"""`glossator fake-llm`: serve a scripted language model, to try Glossator without a key."""

import signal
import threading
from typing import Annotated

import typer

from api.cli.output.console import out, say
from api.demo.fake_llm.endpoint import DEFAULT_MODELS
from api.demo.fake_llm.faults import Faults
from api.demo.fake_llm.readers import judge_of
from api.demo.fake_llm.server import ScriptedServer

ANY_KEY = "none"


def _judge(order: str) -> str:
    try:
        judge_of(order)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error
    return order


def fake_llm(
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port to listen on; 0 takes a free one.")] = 8421,
    host: Annotated[str, typer.Option(help="Address to listen on; anyone who reaches it may ask.")] = "127.0.0.1",
    faults: Annotated[float, typer.Option(min=0, max=1, help="Share of requests that something befalls: 429, 500, dropped connections, ...")] = 0.0,
    latency: Annotated[float, typer.Option(min=0, help="Seconds before each reply.")] = 0.0,
    judge: Annotated[str, typer.Option(callback=_judge, help="Who answers: quoted, yes, no, coin, or noisy:TPR,FPR.")] = "quoted",
    key: Annotated[str, typer.Option(help="The key to ask for; any will do when not given.")] = "",
    seed: Annotated[int, typer.Option(help="Decides which requests something befalls.")] = 0,
) -> None:
    """Serve a scripted language model in the shape of OpenAI's API.

    It bills nothing and understands little: it finds the strings that a label quotes.
    """
    ended = threading.Event()
    for stop in (signal.SIGINT, signal.SIGTERM):
        signal.signal(stop, lambda *_: ended.set())
    try:
        server = ScriptedServer(judge_of(judge, seed), Faults.mixed(faults), latency, key, seed=seed, host=host, port=port)
        server.start()
    except OSError as error:
        raise typer.BadParameter(f"{host}:{port} cannot be listened on ({error.strerror or error}); choose another port") from error
    out.print(f"A scripted language model is listening on {server.base_url}", markup=False, soft_wrap=True)
    out.print(f"Its models: {', '.join(DEFAULT_MODELS)}. For `glossator serve`:\n", markup=False, soft_wrap=True)
    out.print(f"  export GLOSSATOR_LLM_BASE_URL={server.base_url}", markup=False, soft_wrap=True)
    out.print(f"  export GLOSSATOR_LLM_API_KEY={key or ANY_KEY}", markup=False, soft_wrap=True)
    ended.wait()
    server.stop()
    say(f"Stopped; calls answered: {server.totals.calls:,}, tokens: {server.totals.tokens:,}.")

"""`python -m api.demo.fake_llm`: run `glossator fake-llm`, for benchmarks in another process."""

import typer

from api.demo.fake_llm.command import fake_llm

typer.run(fake_llm)

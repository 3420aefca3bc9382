"""`python -m api.demo.fake_llm`: the same as `glossator fake-llm`, for benchmarks that run it as a process of its own."""

import typer

from api.demo.fake_llm.command import fake_llm

typer.run(fake_llm)

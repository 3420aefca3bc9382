"""Register commands by name; each is imported when it runs, for a fast `--help`."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import Any

import typer
from typer.core import TyperGroup

from interp.observability.import_time import without_collecting


@dataclass(frozen=True, slots=True)
class Command:
    """A command's import path (`module:function` or `module:typer`), and its docstring's first sentence."""

    target: str
    summary: str


COMMANDS: Mapping[str, Command] = {
    "serve": Command("api.cli.commands.serve:serve", "Serve pages and the REST API, with its own workers."),
    "worker": Command("api.cli.commands.serve:worker", "Run one worker of one queue, beside `glossator serve --no-workers` or on another machine."),
    "submit": Command("api.cli.commands.submit:submit", "Submit a job and follow it."),
    "run": Command("api.cli.commands.run:run", "Run one job to its end without a service, with workers of its own."),
    "estimate": Command("api.cli.commands.submit:estimate", "Say what a job would ask of its language models, and what that costs."),
    "check": Command("api.cli.commands.check:check", "Check on a sample that a job's dictionary fits its subject."),
    "health": Command("api.cli.commands.health:health", "Say whether a dictionary is any good: losses, sparsity, geometry, relations of features."),
    "league": Command("api.cli.commands.runs:league", "Compare a run's explainers by each scorer: means, paired differences, cost of a label."),
    "stability": Command(
        "api.cli.commands.runs:stability", "Say how stable scores are: what their variance is made of, reliability, features needed."
    ),
    "job": Command("api.cli.commands.jobs:job", "List, show and change jobs."),
    "usage": Command("api.cli.commands.usage:usage", "Show what a job has asked of language models: calls, tokens, cost, latency, and its budget."),
    "batches": Command("api.cli.commands.llm.batches:batches", "Export questions for a model's runner that has no server, and import its results."),
    "dictionaries": Command("api.cli.commands.runs:dictionaries", "List dictionaries, each with its current run."),
    "runs": Command("api.cli.commands.runs:runs", "List runs, of all dictionaries or of one; or choose the one that is current."),
    "features": Command("api.cli.commands.features:features", "List the features of a dictionary, filtered and sorted."),
    "search": Command("api.cli.commands.search:search", "Find features by the words or the meaning of their labels, with filters of figures."),
    "feature": Command("api.cli.commands.features:feature", "Show everything known of one feature."),
    "list": Command("api.cli.commands.curation.lists:lists", "Make, show and change named lists of features, for filters, exports and jobs."),
    "review": Command("api.cli.commands.curation.reviews:review", "Review labels: what to judge next, verdicts, and how they agree with scorers."),
    "provenance": Command(
        "api.cli.commands.provenance:provenance",
        "Show where everything said of a feature comes from: prompts, replies, items, verdicts, seeds, costs.",
    ),
    "activations": Command("api.cli.commands.live:activations", "Run texts through the model: which features fire, and where."),
    "steer": Command("api.cli.commands.live:steer", "Continue a text while a feature is pushed, beside the text without it."),
    "export": Command("api.cli.commands.export:export", "Write the features of one run of a dictionary, in a format of other tools."),
    "import": Command(
        "api.cli.commands.imports:import_records", "Import activation records and human labels as runs, into the database of the settings."
    ),
    "keys": Command("api.cli.commands.access:keys", "Make, list and revoke keys of the REST API, in the database of the settings."),
    "audit": Command("api.cli.commands.access:audit", "List what was changed, or refused, newest first: who, what, when, from where."),
    "doctor": Command("api.cli.commands.doctor:doctor", "Check everything an installation needs, and say what to do about what is missing."),
    "config": Command("api.cli.commands.config:config", "Show all settings by group: value, unit, and where the value comes from."),
    "demo": Command("api.demo.command:demo", "Explain and score the features of examples/pystdlib on this machine, and print what came of it."),
    "fake-llm": Command("api.demo.fake_llm.command:fake_llm", "Serve a scripted language model in the shape of OpenAI's API."),
    "db": Command("api.cli.commands.serve:database", "The database's tables."),
}


class ImportedOnUse(Mapping[str, Any]):
    """A mapping of commands by name that imports a command's module at look-up."""

    def __init__(self, commands: Mapping[str, Command]) -> None:
        self._commands = commands

    def __getitem__(self, name: str) -> Any:
        module, _, attribute = self._commands[name].target.partition(":")
        with without_collecting():
            found = getattr(import_module(module), attribute)
        if not isinstance(found, typer.Typer):
            one = typer.Typer(add_completion=False, rich_markup_mode=None)
            one.command(name)(found)
            found = one
        command = typer.main.get_command(found)
        command.name = name
        return command

    def __iter__(self) -> Iterator[str]:
        return iter(self._commands)

    def __len__(self) -> int:
        return len(self._commands)


class Group(TyperGroup):
    """The group of all commands, whose help consists of summaries."""

    def __init__(self, **attributes: Any) -> None:
        super().__init__(**attributes)
        self.commands = ImportedOnUse(COMMANDS)  # type: ignore[assignment]

    def list_commands(self, _ctx: Any) -> list[str]:
        """Return the names in the registry's order."""
        return list(COMMANDS)

    def format_commands(self, _ctx: Any, formatter: Any) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, command.summary) for name, command in COMMANDS.items()])

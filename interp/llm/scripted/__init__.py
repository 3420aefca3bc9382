"""A scripted language model behind a real HTTP server: for tests, benches, and a first try without a key."""

from interp.llm.scripted.asked import Shown, Span
from interp.llm.scripted.faults import Faults
from interp.llm.scripted.ledger import Ledger
from interp.llm.scripted.readers import CoinReader, ConstantReader, NoisyReader, OracleReader, Predicate, QuotedReader, Reader
from interp.llm.scripted.server import ScriptedProcess, ScriptedServer

__all__ = [
    "CoinReader",
    "ConstantReader",
    "Faults",
    "Ledger",
    "NoisyReader",
    "OracleReader",
    "Predicate",
    "QuotedReader",
    "Reader",
    "ScriptedProcess",
    "ScriptedServer",
    "Shown",
    "Span",
]

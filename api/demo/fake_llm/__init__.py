"""A scripted language model behind a real HTTP server: for tests, benches, and a first try without a key."""

from api.demo.fake_llm.asked import Shown, Span
from api.demo.fake_llm.call_totals import Ledger
from api.demo.fake_llm.faults import Faults
from api.demo.fake_llm.readers import CoinReader, ConstantReader, NoisyReader, OracleReader, Predicate, QuotedReader, Reader
from api.demo.fake_llm.server import ScriptedProcess, ScriptedServer

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

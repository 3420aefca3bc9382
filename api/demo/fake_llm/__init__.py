"""A scripted language model behind an HTTP server, for tests, benchmarks and trials."""

from api.demo.fake_llm.asked import FencedText, Span
from api.demo.fake_llm.faults import Faults
from api.demo.fake_llm.readers import CoinReader, ConstantReader, NoisyReader, OracleReader, Predicate, QuotedReader, ScriptedReader
from api.demo.fake_llm.server import ScriptedProcess, ScriptedServer
from api.demo.fake_llm.state import CallTotals

__all__ = [
    "CallTotals",
    "CoinReader",
    "ConstantReader",
    "Faults",
    "FencedText",
    "NoisyReader",
    "OracleReader",
    "Predicate",
    "QuotedReader",
    "ScriptedProcess",
    "ScriptedReader",
    "ScriptedServer",
    "Span",
]

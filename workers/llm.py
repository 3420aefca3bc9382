"""The tasks of an llm worker: explain, score, summarise. Evidence comes from the database, and torch is never needed."""

from workers.explaining import explain
from workers.scoring import score
from workers.summary import summarise

__all__ = ["explain", "score", "summarise"]

"""The tasks of an llm worker: explain, score, summarise. Evidence comes from the database, and torch is never needed."""

from workers.tasks.explain import explain
from workers.tasks.score import score
from workers.tasks.summarise import summarise

__all__ = ["explain", "score", "summarise"]

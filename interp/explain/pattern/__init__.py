"""The explainer that asks no language model: it fits a rule, prints it as a sentence, and the rule can be run."""

from interp.explain.pattern.explainer import Pattern
from interp.explain.pattern.properties import TokenProperties, properties_of
from interp.explain.pattern.rule import Clause, Rule
from interp.explain.pattern.token_windows import TokenWindows

__all__ = ["Clause", "Pattern", "Rule", "TokenProperties", "TokenWindows", "properties_of"]

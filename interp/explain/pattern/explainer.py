"""The `pattern` explainer behind the explainers' protocol."""

from collections.abc import Sequence

from interp.domain.explanation import Explanation
from interp.domain.vocabulary import Vocabulary
from interp.explain.base import ExplainerInput
from interp.explain.pattern.fit import fit
from interp.explain.pattern.properties import TokenProperties, properties_of
from interp.explain.pattern.rule import EXPLAINER
from interp.explain.pattern.search import SearchSettings
from interp.explain.pattern.sentence import sentence


class Pattern:
    """Fits an executable rule on explain contexts. Deterministic: the seed changes nothing."""

    name = EXPLAINER
    version = 4

    def __init__(self, settings: SearchSettings = SearchSettings()) -> None:
        self.settings = settings

    def explain(self, items: Sequence[ExplainerInput], vocabulary: Vocabulary, seed: int) -> list[Explanation]:  # noqa: ARG002
        """One explanation an input, in the same order."""
        properties = properties_of(vocabulary)
        return [self._explain(item, vocabulary, properties) for item in items]

    def _explain(self, item: ExplainerInput, vocabulary: Vocabulary, properties: TokenProperties) -> Explanation:
        if item.is_dead:
            return self._failed(item, "The feature never fired on the corpus.")
        if not item.contexts.fires().any():
            return self._failed(item, "The feature fires in no explain context, so there is nothing to explain it from.")
        fitted = fit(item.contexts, properties, self.settings)
        if fitted is None:
            return self._failed(item, "No rule predicts the feature better than silence on explain contexts that the rule was not fitted on.")
        return Explanation(
            feature=item.feature,
            explainer=self.name,
            text=sentence(fitted.rule, vocabulary),
            rule=fitted.rule.to_json(),
            provenance={"version": self.version, "contexts": len(item.contexts), "cross_checked_worth": round(fitted.worth, 4)},
        )

    def _failed(self, item: ExplainerInput, reason: str) -> Explanation:
        return Explanation(item.feature, self.name, text=None, failure=reason, provenance={"version": self.version, "contexts": len(item.contexts)})

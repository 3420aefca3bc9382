"""Detection with a language model as the judge: in which windows does the feature fire? (Paulo et al., arXiv 2410.13928, section 4.1.)"""

from interp.llm.prompt_text import plain_after_left
from interp.score.base import ScoreContext, ScorerInput
from interp.score.items.sampling import sample
from interp.score.items.test_items import questions_of
from interp.score.scorers.binary import JudgedBinary, PromptedTestSet
from interp.score.scorers.binary_metrics import BinaryTestSet


class JudgedDetection(JudgedBinary):
    """Firing windows of the uniform and the weighted sample against inactive ones and near misses, shown without marks."""

    name = "detection"
    kind = "detect"

    def paper(self, item: ScorerInput, desk: ScoreContext) -> PromptedTestSet:
        questions = sample(questions_of(item.contexts), *self.counts(), desk.seed, item.feature)
        texts = [plain_after_left(questions.contexts, row, desk.vocabulary) for row in range(len(questions))]
        return PromptedTestSet(BinaryTestSet.of(questions, item.statistics), texts)

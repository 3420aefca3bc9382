"""Detection with a language model as the judge: in which windows does the feature fire? (Paulo et al., arXiv 2410.13928, section 4.1.)"""

from interp.llm.prompt_text import plain_after_left
from interp.score.base import ScoreDesk, ScorerInput
from interp.score.items.sampling import sample
from interp.score.items.test_items import questions_of
from interp.score.scorers.binary import JudgedBinary, Paper
from interp.score.scorers.binary_metrics import Exam


class JudgedDetection(JudgedBinary):
    """Firing windows of the uniform and the weighted sample against inactive ones and near misses, shown without marks."""

    name = "detection"
    kind = "detect"

    def paper(self, item: ScorerInput, desk: ScoreDesk) -> Paper:
        questions = sample(questions_of(item.contexts), *self.counts(), desk.seed, item.feature)
        texts = [plain_after_left(questions.contexts, row, desk.vocabulary) for row in range(len(questions))]
        return Paper(Exam.of(questions, item.statistics), texts)

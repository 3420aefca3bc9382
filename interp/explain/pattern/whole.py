"""A rule told whole, to a judge or a reader who asks for it: every value of its sets, and what the signs in it mean."""

from interp.domain.errors import InputError
from interp.domain.explanation import Explanation
from interp.domain.vocabulary import Vocabulary
from interp.explain.pattern.rule import EXPLAINER, Rule
from interp.explain.pattern.sentence import sentence

# So many values of a set are written out; of longer sets the rest is counted.
MOST_TOLD = 100
SIGNS = {"␣×": "␣×4 for four spaces", "␣": "␣ for a space", "↵": "↵ for a line break", "⇥": "⇥ for a tab"}


def whole_text(explanation: Explanation, vocabulary: Vocabulary, with_legend: bool = True) -> str:
    """What an explanation says, all of it: of a rule every clause, and at most `MOST_TOLD` values of each set; not the label, which may say less.

    A text that another explainer wrote beside a rule stays: it need not say the same. The text of a rule ends with a legend of the signs in it.
    The explanation must have a text; a rule that cannot be read leaves it as it is.
    """
    text = str(explanation.text)
    if explanation.rule is None or explanation.explainer != EXPLAINER:
        return text
    try:
        rule = Rule.from_json(explanation.rule)
    except InputError:
        return text
    text = sentence(rule, vocabulary, most_named=MOST_TOLD)
    return text + legend_of(text) if with_legend else text


def legend_of(text: str) -> str:
    """What the signs in a rule's text stand for; the empty string where it has none."""
    single = text.replace("␣×", "")
    found = [meaning for sign, meaning in SIGNS.items() if sign in (text if sign == "␣×" else single)]
    return f" (Here {', '.join(found)}.)" if found else ""

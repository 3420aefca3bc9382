"""Load the scorers' prompt templates, and write the explanation's part of a prompt."""

from interp.llm import templates
from interp.llm.prompt_text import fence_label

NO_EXPLANATION = "No explanation is given this time. Answer as well as you can without one."


def template(name: str) -> templates.Template:
    """Return a template of `interp/score/templates`."""
    return templates.template("interp.score", name)


def explanation_part(label: str | None, nonce: str) -> str:
    """Return the prompt's part about the tested explanation; None means that there is none."""
    return NO_EXPLANATION if label is None else f"What the feature reacts to:\n{fence_label(label, nonce)}"

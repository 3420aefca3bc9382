"""The scorers' prompt templates, in `interp/score/templates`."""

from interp.llm import templates


def template(name: str) -> templates.Template:
    """The template of that name."""
    return templates.template("interp.score", name)

"""Define the base of all parts of a spec, and limits that several share."""

from typing import Any

from pydantic import BaseModel, ConfigDict, field_validator


class Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    @field_validator("*")
    @classmethod
    def _without_nul(cls, value: Any) -> Any:
        """Refuse NUL, which no path and no database accepts."""
        if any(isinstance(text, str) and "\0" in text for text in (value if isinstance(value, tuple) else (value,))):
            raise ValueError("holds a NUL character")
        return value


# The longest path of any system.
LONGEST_PATH = 4096
# Limits of registries and databases on names, and of git on revisions.
LONGEST_NAME, LONGEST_WORD = 64, 255
# More than any corpus or budget has; sums stay within the databases' integers.
MOST_TOKENS = 10**15
# Per million tokens: ten times the price of the most expensive model.
MOST_PRICE = 1e4
# Characters of a prompt template, ten times the longest of our own.
MOST_PROMPT = 20_000

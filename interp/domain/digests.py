"""Digests: sha256 of canonical JSON."""

import hashlib
import json
from typing import Any

# Part of all identities: a change gives each subject, dictionary and run another digest.
IDENTITY_VERSION = 2


def digest_of(content: Any) -> str:
    """Return the sha256 of the canonical JSON of `content`: keys sorted, no spaces."""
    return hashlib.sha256(json.dumps(content, sort_keys=True, separators=(",", ":")).encode()).hexdigest()

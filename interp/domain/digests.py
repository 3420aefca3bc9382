"""Digest values: sha256 of their canonical JSON."""

import hashlib
import json
from typing import Any

# Of all identities: a change gives every subject, dictionary and run another address.
IDENTITY_VERSION = 2


def digest_of(content: Any) -> str:
    """sha256 of the canonical JSON of `content`: keys sorted, no spaces."""
    return hashlib.sha256(json.dumps(content, sort_keys=True, separators=(",", ":")).encode()).hexdigest()

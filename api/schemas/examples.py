"""Load the examples of the OpenAPI document by name."""

from pathlib import Path
from typing import Any

import yaml

EXAMPLES: dict[str, Any] = yaml.safe_load(Path(__file__).with_suffix(".yaml").read_text(encoding="utf-8"))

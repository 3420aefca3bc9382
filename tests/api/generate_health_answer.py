"""Writes tests/api/golden/health.json: the health report of the tiny test model's dictionary, as the API answers it.

python -m tests.api.generate_health_answer
"""

import json
from pathlib import Path
from tempfile import TemporaryDirectory

from api.reads import health
from benches import tiny
from interp.config.settings import Settings
from interp.domain.spec import JobSpec
from interp.store.db.engine import snapshot
from tests import databases
from tests.workers.test_pipeline import complete
from workers.runtime import Runtime

GOLDEN = Path(__file__).parent / "golden" / "health.json"


def main() -> None:
    with TemporaryDirectory() as folder:
        body = tiny.build(Path(folder)).model_dump(mode="json")
        tiny.write_dictionary(Path(folder) / "smaller", tiny.WIDTH, 12)
        others = {"source": str(Path(folder) / "smaller"), "name": "tiny@1-smaller"}
        settings = {"tokens": 2048, "token_class": [" self", "self"]}
        body |= {"dictionaries": [body.pop("dictionary"), others], "explainers": [], "scorers": [], "health": settings}
        spec = JobSpec.model_validate(body)
        url = f"sqlite:///{folder}/tiny.db"
        databases.upgrade(url)
        runtime = Runtime.of(Settings(home=Path(folder) / "home", database_url=url))
        complete(runtime, spec)
        with snapshot(runtime.engine) as session:
            answer = health.health(session, "tiny@1-res", None, ["tiny@1-smaller"])
    GOLDEN.parent.mkdir(exist_ok=True)
    GOLDEN.write_text(json.dumps(answer.model_dump(mode="json"), separators=(",", ":")) + "\n")


if __name__ == "__main__":
    main()

"""How long calls took: percentiles by stage, purpose and model, one statement on both dialects."""

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from interp.store.tables import LlmCall

Group = tuple[str, str, str, str, str]
GROUPS = (LlmCall.stage, LlmCall.purpose, LlmCall.model, LlmCall.base_url, LlmCall.transport)


def percentile(session: Session, job_id: str, share: float) -> dict[Group, float]:
    """Seconds of a whole call, attempts and waits included, that `share` (above 0) of a group's calls stay within: the nearest rank.

    By (stage, purpose, model, base URL, transport). Sorts the job's calls once: for a page that a person looks at, not for a hot path.
    """
    place = func.row_number().over(partition_by=GROUPS, order_by=LlmCall.seconds).label("place")
    total = func.count().over(partition_by=GROUPS).label("total")
    ranked = select(*GROUPS, LlmCall.seconds, place, total).where(LlmCall.job_id == job_id).subquery()
    # place = ceil(share * total), said without a function that SQLite may lack.
    nearest = (ranked.c.place >= ranked.c.total * share) & (ranked.c.place < ranked.c.total * share + 1)
    columns = [ranked.c[column.key] for column in GROUPS]
    found: dict[Group, float] = {}
    for row in session.execute(select(*columns, ranked.c.seconds).where(nearest)):
        found[row[0], row[1], row[2], row[3], row[4]] = float(row[5])
    return found

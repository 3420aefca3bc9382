"""A feature's explanations in the order of the one rule: the one that listings show first. Pure."""

from collections.abc import Container, Mapping, Sequence

from interp.score import best
from interp.store.db.tables import ExplanationRow, ScoreRow


def ranked(rows: Sequence[ExplanationRow], scores: Mapping[int, Sequence[ScoreRow]], shown: Container[int]) -> list[ExplanationRow]:
    """The best first, as `interp.score.best` says; before all the one that is `shown`, which the last summary chose."""
    pairs = [(row.id, score) for row in rows for score in scores.get(row.id, ())]
    found = best.Candidates.joined(
        [
            best.unscored([0] * len(rows), [row.id for row in rows]),
            best.scored(
                [0] * len(pairs),
                [made for made, _ in pairs],
                [score.scorer for _, score in pairs],
                [score.value for _, score in pairs],
                [score.shrunken_value for _, score in pairs],
                [score.lift for _, score in pairs],
                [score.q_value for _, score in pairs],
            ),
        ]
    )
    order = list(dict.fromkeys(found.explanations[best.in_order(found)].tolist()))
    return sorted(rows, key=lambda row: (row.id not in shown, row.text is None, order.index(row.id)))

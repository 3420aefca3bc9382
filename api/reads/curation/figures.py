"""Read the figures of all features of a run together."""

from dataclasses import asdict

from api.reads.names import corpus_name, run_name
from api.schemas.curation.figures import CoverageAnswer, DistributionAnswer, FiguresAnswer, LeagueLineAnswer, ReasonAnswer
from interp.store.db.engine import Session
from interp.store.listings import distributions as stored
from interp.store.listings import queries
from interp.store.results import runs


def named_run(session: Session, dictionary: str, run: str) -> str:
    """Return the address of a run that a reader names; raises NotFoundError, InputError."""
    of = queries.dictionary(session, dictionary)
    return run_name(runs.named(session, of, run), of)


def figures(session: Session, dictionary: str, run: str | None) -> FiguresAnswer:
    """Return distributions, coverage, and explainers of a run; raises NotFoundError, InputError."""
    of = queries.dictionary(session, dictionary)
    shown = runs.shown(session, of, run)
    return FiguresAnswer(
        dictionary=of.name,
        run=run_name(shown, of),
        corpus=corpus_name(shown),
        coverage=CoverageAnswer(features=of.n_features, **asdict(stored.coverage(session, shown.id))),
        reasons=[ReasonAnswer(**asdict(one)) for one in stored.failures(session, shown.id)],
        distributions={name: DistributionAnswer.of(one) for name, one in stored.distributions(session, shown.id).items()},
        explainers=[LeagueLineAnswer.model_validate(asdict(line)) for line in stored.league(session, shown.id)],
    )

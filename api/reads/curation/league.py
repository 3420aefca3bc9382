"""Read the league table of a run."""

from dataclasses import dataclass

from api.reads.names import run_name
from api.schemas.curation.league import ExplainerCostAnswer, LeagueAnswer, LeagueDifferenceAnswer, LeagueDivisionAnswer, LeagueEntryAnswer
from interp.analysis import stored_league
from interp.analysis.league import Difference, Division, Entry, Key
from interp.analysis.stored_league import LeagueTable
from interp.store.db.engine import Session
from interp.store.db.tables import DictionaryRow, RunRow
from interp.store.listings import queries
from interp.store.results import league, runs

Costs = dict[Key, ExplainerCostAnswer | None]


@dataclass(frozen=True, slots=True)
class RunLeague:
    """A run of a dictionary with its league table."""

    dictionary: DictionaryRow
    run: RunRow
    table: LeagueTable


def table(session: Session, dictionary: str, run: str | None) -> LeagueAnswer:
    """Return the explainers of a run compared by each scorer; raises NotFoundError."""
    return answer(session, of_run(session, dictionary, run))


def of_run(session: Session, dictionary: str, run: str | None) -> RunLeague:
    """Return the league table of a run; raises NotFoundError."""
    row = queries.dictionary(session, dictionary)
    shown = runs.shown(session, row, run)
    return RunLeague(row, shown, stored_league.read(session, shown.id))


def answer(session: Session, of: RunLeague) -> LeagueAnswer:
    """Return a league table with what labels cost, its divisions and differences in order."""
    judges, costs = dict(of.table.judges), _costs(session, of.table)
    divisions = [_division(one, judges.get(one.scorer), costs) for one in of.table.divisions]
    return LeagueAnswer(dictionary=of.dictionary.name, run=run_name(of.run, of.dictionary), divisions=divisions)


def _costs(session: Session, table: LeagueTable) -> Costs:
    """Return the mean cost of a label by explainer and settings.

    Calls are recorded by job and explainer: what a job spent is divided by the labels that it made.
    """
    made = dict(table.made)
    costs: Costs = {}
    for (explainer, digest), (jobs, _) in made.items():
        spent = league.spending(session, jobs, explainer) if jobs else None
        labels = sum(count for (name, _), (others, count) in made.items() if name == explainer and others & jobs)
        costs[explainer, digest] = (
            None
            if spent is None
            else ExplainerCostAnswer(calls=spent.calls / labels, tokens=spent.tokens / labels, usd=None if spent.usd is None else spent.usd / labels)
        )
    return costs


def _division(of: Division, judge: str | None, costs: Costs) -> LeagueDivisionAnswer:
    return LeagueDivisionAnswer(
        scorer=of.scorer[0],
        settings_digest=of.scorer[1],
        judge=judge,
        metric=of.metric,
        entries=[_entry(entry, costs) for entry in of.entries],
        differences=[_difference(one) for one in of.differences],
    )


def _entry(of: Entry, costs: Costs) -> LeagueEntryAnswer:
    low, high = of.interval or (None, None)
    return LeagueEntryAnswer(
        explainer=of.explainer[0],
        settings_digest=of.explainer[1],
        features=of.features,
        common=of.common,
        mean=of.mean,
        low=low,
        high=high,
        mean_lift=of.mean_lift,
        better_than_null=of.better_than_null,
        better_than_pattern=of.better_than_pattern,
        why=of.why,
        cost=costs.get(of.explainer),
    )


def _difference(of: Difference) -> LeagueDifferenceAnswer:
    low, high = of.found.interval or (None, None)
    return LeagueDifferenceAnswer(
        first=of.first[0],
        first_settings=of.first[1],
        second=of.second[0],
        second_settings=of.second[1],
        pairs=of.found.pairs,
        difference=of.found.difference,
        low=low,
        high=high,
        why=of.found.why,
    )

"""Sections of a health report's page, in the order in which a reader asks."""

from collections.abc import Callable
from dataclasses import dataclass
from xml.etree.ElementTree import Element

from api.cli.output.health import activity, cofiring, concepts, context, geometry, matching, reconstruction
from api.cli.output.health.figures import Report, Row, percent


@dataclass(frozen=True, slots=True)
class Section:
    """A section: a sentence of what its figures say, and the figures.

    `anchor` is the heading of docs/health.md that defines them."""

    key: str
    title: str
    anchor: str
    says: Callable[[Report], str]
    body: Callable[[Report], list[Element]]


HEADLINE = (
    Row("reconstruction.splicing.nats_lost", "nats lost", "what the subject's loss gains a token with the reconstruction in place"),
    Row("reconstruction.splicing.score", "CE recovered", "share of the loss that zeros cost and the reconstruction does not"),
    Row("reconstruction.error.fvu", "FVU", "fraction of variance unexplained"),
    Row("activity.l0", "L0", "features that fire at a token, on average"),
    Row("activity.dead.share", "dead", "features that never fire", percent),
    Row("activity.dense.share", "dense", "features that fire at more than 10% of tokens", percent),
)

SECTIONS = (
    Section("reconstruction", "Reconstruction", "reconstruction-and-splicing", reconstruction.loss_says, reconstruction.loss_body),
    Section("shrinkage", "Shrinkage", "reconstruction-and-splicing", reconstruction.shrinkage_says, reconstruction.shrinkage_body),
    Section("direction", "Direction of the errors", "reconstruction-and-splicing", reconstruction.direction_says, reconstruction.direction_body),
    Section("sparsity", "Sparsity", "activity", activity.says, activity.body),
    Section("geometry", "Geometry of the weights", "geometry-of-the-weights", geometry.says, geometry.body),
    Section("cofiring", "Firing together", "firing-together", cofiring.says, cofiring.body),
    Section("concepts", "Classes of tokens", "classes-of-tokens", concepts.says, concepts.body),
    Section("context", "Beyond the current token", "beyond-the-current-token", context.says, context.body),
    Section("matching", "Shared with other dictionaries", "features-shared-with-other-dictionaries", matching.says, matching.body),
)

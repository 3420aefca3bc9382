"""The registry of the forms of records that other tools leave in a folder."""

from collections.abc import Callable
from pathlib import Path

from interp.corpus import dashboard_batches, delphi_latents, feature_records, neuron_records
from interp.corpus.feature_records import FeatureRecords

# The file names of a form, and its reader: the first one that a folder has files of.
FORMS: tuple[tuple[tuple[str, ...], Callable[[Path], FeatureRecords]], ...] = (
    ((feature_records.RECORDS, feature_records.LABELS), feature_records.read),
    ((dashboard_batches.BATCHES,), dashboard_batches.read),
    ((delphi_latents.LATENTS,), delphi_latents.read),
    ((*neuron_records.RECORDS, *neuron_records.EXPLANATIONS), neuron_records.read),
)


def read(folder: Path) -> FeatureRecords:
    """Read a folder of records of any form; raises FileMissingError, PathRefusedError and InputError."""
    found = (read_form for names, read_form in FORMS if any(next(folder.glob(name), None) for name in names))
    return next(found, feature_records.read)(folder)

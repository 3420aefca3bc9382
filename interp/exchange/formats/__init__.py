"""The registry of export formats, a file each."""

from interp.domain.errors import InputError
from interp.exchange.formats.arrow_stream import ArrowStream
from interp.exchange.formats.base import ExportFormat
from interp.exchange.formats.csv_table import CsvTable
from interp.exchange.formats.delphi import Delphi
from interp.exchange.formats.graph import Graph
from interp.exchange.formats.hf_dataset import HfDataset
from interp.exchange.formats.jsonl import JsonLines
from interp.exchange.formats.neuronpedia import Neuronpedia
from interp.exchange.formats.neuronpedia_upload import NeuronpediaUpload
from interp.exchange.formats.parquet import Parquet
from interp.exchange.formats.saedashboard import SaeDashboard

ALL: tuple[ExportFormat, ...] = (
    Parquet(),
    JsonLines(),
    ArrowStream(),
    CsvTable(),
    Neuronpedia(),
    NeuronpediaUpload(),
    SaeDashboard(),
    HfDataset(),
    Graph(),
    Delphi(),
)
FORMATS = {made.facts.name: made for made in ALL}


def format_of(name: str) -> ExportFormat:
    """Return a format by name; raises InputError, which lists all."""
    found = FORMATS.get(name)
    if found is None:
        raise InputError(f"There is no export format {name[:40]!r}.", cure=f"Choose one of {', '.join(FORMATS)}.")
    return found

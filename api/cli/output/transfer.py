"""Show bytes that are sent or copied."""

from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

from api.cli.output.console import err

UNITS = ("KiB", "MiB", "GiB", "TiB")


def transfer_bars() -> Progress:
    """Return live bars of bytes, with their rate."""
    columns = TextColumn("{task.description}", markup=False), BarColumn(bar_width=32), DownloadColumn(binary_units=True), TransferSpeedColumn()
    return Progress(*columns, console=err)


def size_of(nbytes: int) -> str:
    """Return a number of bytes for a person."""
    size, unit = float(nbytes), "bytes"
    for larger in UNITS:
        if size < 1024:
            break
        size, unit = size / 1024, larger
    return f"{size:,.0f} bytes" if unit == "bytes" else f"{size:,.1f} {unit}"

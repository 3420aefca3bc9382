"""Draw SVG as PNG, by the extra `plots`."""

from importlib.util import find_spec

from interp.domain.errors import InputError

# Pixels for each unit of a drawing: a chart is 1,380 across.
ZOOM = 3
BLANK = '<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"/>'
LETTER = '<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"><text y="9" font-family="sans-serif" font-size="9">M</text></svg>'


def require_png() -> None:
    """Raise InputError where the extra is missing, or every font."""
    if find_spec("resvg_py") is None:
        raise InputError("No PNG can be drawn here.", why="The package resvg-py is not installed.", cure="pip install 'glossator[plots]'")
    if png(LETTER) == png(BLANK):
        raise InputError("A PNG would have no letters.", why="This machine has no font.", cure="Install one: apt-get install fonts-dejavu-core.")


def png(drawn: str) -> bytes:
    """Return the PNG of an SVG document; nothing outside of it but fonts is read."""
    import resvg_py

    found: bytes = resvg_py.svg_to_bytes(svg_string=drawn, zoom=ZOOM)
    return found

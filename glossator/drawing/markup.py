"""Build HTML and SVG from elements, so that text from outside is always escaped."""

from collections.abc import Iterable
from xml.etree.ElementTree import Element, tostring

from glossator.drawing.visible import visible

Node = Element | str | None

# A line break follows these, so that the file has lines.
BLOCKS = frozenset(
    {"caption", "details", "div", "dl", "figure", "h1", "h2", "h3", "head", "header", "li", "p", "section", "style", "svg", "tr", "ul"}
)


def element(tag: str, *children: Node, **attributes: str | float) -> Element:
    """Return an element with children and attributes, of which texts are escaped.

    `class_` is the attribute `class`, `stroke_width` is `stroke-width`. Control characters become visible signs.
    """
    made = Element(tag, {name.rstrip("_").replace("_", "-"): visible(str(value)) for name, value in attributes.items()})
    extend(made, children)
    return made


def extend(parent: Element, children: Iterable[Node]) -> None:
    """Append elements and texts to an element; None is nothing."""
    for child in children:
        if isinstance(child, Element):
            parent.append(child)
        elif child is not None and len(parent):
            parent[-1].tail = (parent[-1].tail or "") + visible(child)
        elif child is not None:
            parent.text = (parent.text or "") + visible(child)


def document(root: Element) -> str:
    """Return the HTML document of a root element."""
    for node in root.iter():
        if node.tag in BLOCKS and not node.tail:
            node.tail = "\n"
    return "<!DOCTYPE html>\n" + tostring(root, encoding="unicode", method="html") + "\n"

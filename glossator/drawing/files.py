"""Write a chart as an SVG file, with its colours, title and description inside."""

import re
import textwrap
from copy import deepcopy
from xml.etree.ElementTree import Element, tostring

from glossator.drawing.markup import element

# The colours of the report's light page, as numbers: programs other than browsers know no variables.
STYLE = """
text { font-family: sans-serif; font-size: 13px; fill: #1a1a1a }
.tick, .faint, .says { fill: #595959 }
.title { font-weight: bold }
.says { font-size: 11px }
.grid { stroke: #d0d0d0 }
.axis { stroke: #595959 }
.whisker, .median { stroke: #1a1a1a; stroke-width: 2 }
.s0 { fill: #0072b2; stroke: #0072b2 }
.s1 { fill: #ffffff; stroke: #b34700; stroke-width: 1.5 }
.bar { stroke-width: 1 }
.whisker.s0, .whisker.s1 { stroke-width: 2 }
"""
# Heights of the title and of a line of the description, and the letters that fit into one.
TITLE, LINE, LETTERS = 26, 14, 80
MOST_LINES = 6


def svg_file(drawn: Element, title: str, says: str) -> str:
    """Return the SVG file of a chart, light, under its title and description.

    It loads and runs nothing.
    """
    left, _, width, height = (int(number) for number in drawn.get("viewBox", "0 0 0 0").split())
    lines = textwrap.wrap(says, LETTERS)[:MOST_LINES]
    top = -(TITLE + LINE * len(lines) + 4)
    box = {"x": left, "y": top, "width": width, "height": height - top}
    texts = [element("text", title, x=left + 8, y=top + 18, class_="title")]
    texts += [element("text", line, x=left + 8, y=top + TITLE + LINE * place + 8, class_="says") for place, line in enumerate(lines)]
    style = Element("style")
    style.text = STYLE
    made = element("svg", style, element("rect", fill="#ffffff", **box), *texts, xmlns="http://www.w3.org/2000/svg")
    made.attrib |= drawn.attrib | {"viewBox": " ".join(map(str, box.values())), "width": str(width), "height": str(height - top)}
    made.extend(deepcopy([*drawn]))
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + tostring(made, encoding="unicode") + "\n"


def file_name(key: str) -> str:
    """Return a chart's key as a file name without ending, safe in any folder."""
    return re.sub(r"[^a-z0-9_-]+", "-", key.lower())[:64].strip("-") or "chart"

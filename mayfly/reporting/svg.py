"""SVG for a page of HTML: the page's colours and fonts, no names that clash, nothing outside."""

import re
import xml.etree.ElementTree as ET

# Stand-ins of colours while a plot is drawn; in the page they are its custom properties, which
# differ in light and dark. Black and neighbours: none is a colour that one would draw in.
INK, SOFT, LINE, ONE, TWO, THREE = (f"#00000{digit}" for digit in range(1, 7))
_COLOURS = {
    INK: "var(--ink)",
    SOFT: "var(--soft)",
    LINE: "var(--line)",
    ONE: "var(--one)",
    TWO: "var(--two)",
    THREE: "var(--three)",
}
_FONT = re.compile(r"font: ([^'\";]*?)(\d[\d.]*px) [^;]*")
_REFERENCE = re.compile(r"(?:url\(#|^#)([^)]+)")
_DROPPED = {"metadata", "style", "title"}


def for_the_page(svg: ET.Element, *, title: str, text: str) -> str:
    """Return an SVG document's element as it can stand in HTML; the element is used up.

    It scales with the page, is announced by its title, and refers to nothing but itself.
    """
    svg.attrib.pop("width", None)
    svg.attrib.pop("height", None)
    svg.attrib.pop("version", None)
    _plain(svg)
    used = {name for element in svg.iter() for name in _references(element)}
    for element in svg.iter():
        if element.get("id") not in used:
            element.attrib.pop("id", None)
        for name, value in element.attrib.items():
            element.set(name, _FONT.sub(r"font: \1\2 system-ui, sans-serif", _coloured(value)))
    svg.set("role", "img")
    for tag, words in (("desc", text), ("title", title)):
        child = ET.Element(tag)
        child.text = words
        svg.insert(0, child)
    return ET.tostring(svg, encoding="unicode")


def _plain(element: ET.Element) -> None:
    """Take the namespaces off: in HTML they go without saying."""
    element.tag = _local(element.tag)
    for name in [*element.attrib]:
        element.attrib[_local(name)] = element.attrib.pop(name)
    for child in [*element]:
        if _local(child.tag) in _DROPPED:
            element.remove(child)
        else:
            _plain(child)


def _local(name: str) -> str:
    return name.rpartition("}")[2]


def _references(element: ET.Element) -> list[str]:
    return [name for value in element.attrib.values() for name in _REFERENCE.findall(value)]


def _coloured(value: str) -> str:
    for stand_in, colour in _COLOURS.items():
        value = value.replace(stand_in, colour)
    return value

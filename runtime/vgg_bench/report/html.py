"""HTML and SVG as element trees, so that every text and attribute is escaped."""

from __future__ import annotations

from xml.etree.ElementTree import Element, tostring

from vgg_cli.output import printable_lines

__all__ = ["Element", "as_html", "element"]


def element(tag: str, *children: Element | str, **attributes: str | float) -> Element:
    """Return an element; the attribute ``class_`` becomes "class", ``aria_label`` "aria-label", a number its digits."""
    result = Element(tag, {name.strip("_").replace("_", "-"): _text(value) for name, value in attributes.items()})
    for child in children:
        if not isinstance(child, str):
            result.append(child)
        elif len(result):
            result[-1].tail = (result[-1].tail or "") + child
        else:
            result.text = (result.text or "") + child
    return result


def as_html(root: Element) -> str:
    """Return a document; in <script> and <style>, only control characters are escaped."""
    text = "<!doctype html>\n" + tostring(root, encoding="unicode", method="html") + "\n"
    return printable_lines(text).encode("utf-8", "backslashreplace").decode()  # a file name may not be valid UTF-8


def _text(value: str | float) -> str:
    return value if isinstance(value, str) else f"{value:.6g}"

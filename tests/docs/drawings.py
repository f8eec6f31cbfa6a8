"""The drawings of docs/drawings: well-formed, small, readable as text, in light and in dark, and each on a page."""

from __future__ import annotations

import re
from pathlib import Path
from xml.etree import ElementTree

from pages import DOCS, ROOT

SVG = "{http://www.w3.org/2000/svg}"
LARGEST = 10_000
IMAGE = re.compile(r"!\[(?P<text>[^\]]*)\]\((?P<path>[^)\s]+)\)")


def check() -> list[str]:
    shown = {}
    wrong = []
    for page in sorted(DOCS.rglob("*.md")):
        for found in IMAGE.finditer(page.read_text()):
            shown[(page.parent / found["path"]).resolve()] = found["text"]
    for drawing in sorted((DOCS / "drawings").iterdir()):
        wrong += [f"{drawing.relative_to(ROOT)}: {fault}" for fault in faults(drawing)]
        if len(shown.get(drawing, "")) < 40:
            wrong.append(f"{drawing.relative_to(ROOT)}: no page shows it with a text that can stand in its place")
    return wrong


def faults(drawing: Path) -> list[str]:
    text = drawing.read_text()
    try:
        root = ElementTree.fromstring(text)
    except ElementTree.ParseError as error:
        return [f"not well-formed: {error}"]
    wrong = []
    if root.tag != f"{SVG}svg" or "viewBox" not in root.attrib:
        wrong.append("no svg with a viewBox")
    if root.get("role") != "img" or any(len(root.findtext(f"{SVG}{name}") or "") < least for name, least in (("title", 3), ("desc", 100))):
        wrong.append("role, title or desc is missing: its meaning as text")
    if "prefers-color-scheme: dark" not in text:
        wrong.append("no colours for dark")
    if re.search(r"<script|<image|<foreignObject|href|url\((?!#)|@import", text):
        wrong.append("it needs something outside of itself")
    if len(text) > LARGEST:
        wrong.append(f"{len(text)} bytes; allowed: {LARGEST}")
    return wrong

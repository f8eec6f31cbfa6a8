"""Whether the site that `make docs` built leads where it says, and finds what there is to find: python tests/docs/site.py SITE

Every link of a page ends at a page, a file or an anchor of the site; so do those from the pages into the references. Every option, figure, status and kind of
event is a word of the search index, on the page that explains it. Needs the Python package installed.
"""

from __future__ import annotations

import json
import re
import sys
from functools import cache
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

from ackbus import _native

BUILT_ELSEWHERE = ("docs/reference/c/", "docs/reference/cpp/", "docs/reference/rust/", "docs/reference/python/")
"""References whose own links are checked by what built them. That of Go is made of pages like all others."""


class Page(HTMLParser):
    """The links of a page, and where links may lead in it."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.links: list[str] = []
        self.anchors: set[str] = set()
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = {name: value or "" for name, value in attrs}
        self.links += [found[name] for name in ("href", "src") if name in found]
        self.anchors |= {found[name] for name in ("id", "name") if name in found}


@cache
def page(path: Path) -> Page:
    return Page(path.read_text())


def links(site: Path) -> list[str]:
    wrong = []
    for path in sorted(site.rglob("*.html")):
        place = path.relative_to(site).as_posix()
        if place.startswith(BUILT_ELSEWHERE) or place == "404.html":
            continue
        for link in page(path).links:
            parts = urlsplit(link)
            if parts.scheme or parts.netloc:
                continue
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            target = target / "index.html" if target.is_dir() else target
            if not target.is_relative_to(site) or not target.is_file():
                wrong.append(f"{place}: {link} leads nowhere")
            elif parts.fragment and target.suffix == ".html" and unquote(parts.fragment) not in page(target).anchors:
                wrong.append(f"{place}: {link}: {target.relative_to(site)} has no such anchor")
    return wrong


def search(site: Path) -> list[str]:
    """What a reader may look for, by the core's own lists, and the page that explains it."""
    options, rules = _native.option_keys()
    statuses, kinds = [name for name, *_ in _native.statuses()], [name for name, _ in _native.event_kinds()]
    wanted = {
        "CONFIGURATION": options + rules,
        "STATISTICS": [name for name, *_ in _native.stats_fields()],
        "ERRORS": statuses + [f"ACKBUS_ERR_{name}" for name in statuses if name != "OK"],
        "EVENTS": kinds + [f"ACKBUS_EVENT_{name}" for name in kinds],
    }
    index = json.loads((site / "search/search_index.json").read_text())
    separator, wrong = re.compile(index["config"]["separator"]), []
    for name, terms in wanted.items():
        sections = [entry for entry in index["docs"] if entry["location"].startswith(f"docs/{name}.html")]
        # As lunr has them: blanks divide them, and what is no letter, digit or underscore goes from their ends.
        words = {re.sub(r"^\W+|\W+$", "", word) for entry in sections for word in separator.split(f"{entry['title']} {entry['text']}")}
        wrong += [f"search: {term} is not on the page {name}" for term in terms if term not in words]
    return wrong


def main(site: Path) -> int:
    wrong = links(site) + search(site)
    for text in wrong:
        print(text, file=sys.stderr)
    print(f"site: {len(wrong)} wrong")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]).resolve()))

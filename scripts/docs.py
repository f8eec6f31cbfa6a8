"""Lays out the pages for mkdocs: python scripts/docs.py FOLDER REFERENCES

Starts from the pages of docs/mkdocs.yml and follows every relative link. A page is copied as it is; a source file becomes a page that shows it, a folder
without a README one that lists it. So every link works in the repository and on the site. A link that leads nowhere ends it with an error.

REFERENCES is what scripts/references.py built. What a page says between `<!-- reference: LANGUAGE -->` and `<!-- end -->` is for readers of the repository; on
the site it is a link to the reference, or the reason why there is none.
"""

from __future__ import annotations

import os
import re
import shutil
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
LINK = re.compile(r"(?<=\]\()(?!\w+:|#)(?P<path>[^)#\s]+)(?P<anchor>#[^)\s]*)?(?=\))")
CODE = re.compile(r"^```.*?^```$|`[^`\n]+`", re.MULTILINE | re.DOTALL)
PICTURES = {".svg", ".png"}
LANGUAGES = {".c": "c", ".h": "c", ".cpp": "cpp", ".hpp": "cpp", ".rs": "rust", ".py": "python", ".go": "go", ".sh": "bash", ".json": "json", ".toml": "toml"}
CONFIGURATION = ROOT / "docs/mkdocs.yml"
REFERENCE = re.compile(r"<!-- reference: (?P<language>\w+) -->.*?<!-- end -->")
REFERENCES = {
    "c": "c/ackbus_8h.html",
    "cpp": "cpp/namespaceackbus.html",
    "rust": "rust/ackbus/index.html",
    "python": "python/ackbus.html",
    "go": "go/ackbus.md",
}
"""Where each reference begins."""


class Layout:
    def __init__(self, folder: Path, references: Path) -> None:
        self.folder = folder
        self.references = references
        self.done: set[Path] = set()
        self.dead: list[str] = []

    def add(self, path: Path) -> None:
        """A file or folder of the repository, and all that it links to."""
        if (path / "README.md").is_file():
            path /= "README.md"
        if path in self.done:
            return
        self.done.add(path)
        place = self.folder / self.page(path).relative_to(ROOT)
        place.parent.mkdir(parents=True, exist_ok=True)
        if path.suffix in PICTURES:
            shutil.copy(path, place)
        elif path.suffix == ".md":
            place.write_text(self.linked(path, path.read_text()))
        elif path.is_dir():
            place.write_text(self.linked(path / "index.md", listing(path)))
        else:
            place.write_text(source(path))

    def page(self, path: Path) -> Path:
        """Where a file of the repository is on the site."""
        if path.suffix in {".md", *PICTURES}:
            return path
        if path.is_dir():
            return path / ("README.md" if (path / "README.md").is_file() else "index.md")
        return path.with_name(path.name + ".md")

    def linked(self, page: Path, text: str) -> str:
        """The text with its links leading to pages."""

        def link(found: re.Match[str]) -> str:
            target = Path(os.path.normpath(page.parent / found["path"]))
            if not target.exists() or not target.is_relative_to(ROOT):
                self.dead.append(f"{page.relative_to(ROOT)}: there is no {found['path']}")
                return found[0]
            self.add(target)
            return os.path.relpath(self.page(target), page.parent) + (found["anchor"] or "")

        parts, end = [], 0
        for code in CODE.finditer(text):  # a C++ lambda looks like a link
            parts += [LINK.sub(link, text[end : code.start()]), code[0]]
            end = code.end()
        parts.append(LINK.sub(link, text[end:]))
        # Lists inside it are Markdown too, as they are in the repository.
        text = "".join(parts).replace("<details>", '<details markdown="1">')
        return REFERENCE.sub(lambda found: self.reference(page, found["language"]), text)

    def reference(self, page: Path, language: str) -> str:
        """The link to a language's reference; or why there is none."""
        skipped = self.references / f"{language}.skipped"
        if skipped.is_file():
            return f"not on this site: {skipped.read_text()}"
        if not (self.references / REFERENCES[language]).is_file():
            self.dead.append(f"{page.relative_to(ROOT)}: there is no reference for {language}, and no reason")
        return f"[reference]({os.path.relpath(ROOT / 'docs/reference' / REFERENCES[language], page.parent)})"


def source(path: Path) -> str:
    fence = "````"
    return f"# {path.relative_to(ROOT)}\n\n{fence}{LANGUAGES.get(path.suffix, 'text')}\n{path.read_text()}{fence}\n"


def listing(folder: Path) -> str:
    names = sorted(entry.name for entry in folder.iterdir() if not entry.name.startswith((".", "__")))
    return f"# {folder.relative_to(ROOT)}\n\n" + "".join(f"* [{name}]({name})\n" for name in names)


def main(folder: Path, references: Path) -> int:
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(references, folder / "docs/reference")
    layout = Layout(folder, references)
    for page in re.findall(r": ([\w./-]+\.md)$", CONFIGURATION.read_text(), re.MULTILINE):
        if not (ROOT / page).is_file():
            layout.dead.append(f"docs/mkdocs.yml: there is no {page}")
        else:
            layout.add(ROOT / page)
    shutil.copy(ROOT / "docs/site.css", folder / "site.css")
    for text in layout.dead:
        print(text, file=sys.stderr)
    return 1 if layout.dead else 0


if __name__ == "__main__":
    sys.exit(main(*(Path(argument).resolve() for argument in sys.argv[1:])))

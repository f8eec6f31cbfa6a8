"""Templates for topics and Msg-Ids: ``orders.{region}``."""

from __future__ import annotations

import hashlib
import json
import string
from typing import Any

from .records import Record, RecordError
from .usage import Usage

NUMBER, DIGEST = "line", "sha256"


class Template:
    """Text with ``{field}``, ``{field.of.field}``, ``{line}`` (the record's number) and ``{sha256}`` (of the record's bytes). ``{{`` and ``}}`` are braces."""

    def __init__(self, what: str, text: str, form: str) -> None:
        """Raises :exc:`Usage` for what is no template, and for fields in a format that has none."""
        self._parts: list[tuple[str, str | None]] = []
        try:
            for literal, name, spec, conversion in string.Formatter().parse(text):
                if name is not None and (not all(name.split(".")) or spec or conversion):
                    raise ValueError("a placeholder is {name} or {name.of.name}")
                self._parts.append((literal, name))
        except ValueError as error:
            raise Usage(f"{what} {text!r} is no template: {error}") from None
        self.names = [name for _, name in self._parts if name is not None]
        """The placeholders."""
        fields = [name for name in self.names if name not in (NUMBER, DIGEST)]
        if fields and form != "ndjson":
            raise Usage(f"{what} {text!r}: fields such as {{{fields[0]}}} need --format ndjson; {{{NUMBER}}} and {{{DIGEST}}} do not")
        self._constant = "".join(literal for literal, _ in self._parts) if not self.names else None

    def fill(self, record: Record) -> str:
        """The text for this record. Raises :exc:`RecordError` if a field is missing, or has a value that is no text, number or truth value."""
        if self._constant is not None:
            return self._constant
        return "".join(literal if name is None else literal + _text(name, record) for literal, name in self._parts)

    def subjects(self) -> str:
        """The subjects that a stream for such topics needs: ``orders.{region}`` gives ``orders.>``, because a value may have dots."""
        # A mark for each placeholder, to see in which tokens they are; no topic has it.
        tokens = "".join(literal + ("\0" if name is not None else "") for literal, name in self._parts).split(".")
        subjects = ["*" if "\0" in token else token for token in tokens]
        if len(subjects) > 1 and subjects[-1] == "*":
            subjects[-1] = ">"
        return ".".join(subjects)


def _text(name: str, record: Record) -> str:
    if name == NUMBER:
        return str(record.number)
    if name == DIGEST:
        return hashlib.sha256(record.payload).hexdigest()
    value: Any = record.value
    for key in name.split("."):
        if not isinstance(value, dict) or key not in value:
            raise RecordError(f"it has no field {name}")
        value = value[key]
    if isinstance(value, str):
        return value
    if isinstance(value, bool | int | float):
        return json.dumps(value)
    kind = "null" if value is None else "an object" if isinstance(value, dict) else "an array"
    raise RecordError(f"field {name} is {kind}; allowed: text, number, true, false")

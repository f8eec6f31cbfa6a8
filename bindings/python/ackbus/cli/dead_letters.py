"""Where records go that were not persisted."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from typing import BinaryIO

from .usage import Usage


class DeadLetters:
    """A file with the records as they were read, which can be published again, and a sidecar ``FILE.reasons`` that says of each, as NDJSON, why it is here.

    Both are appended to: nothing that an earlier run left is overwritten. What this run made and left empty is removed. Used by one thread at a time.
    """

    def __init__(self, path: str, source: BinaryIO) -> None:
        """Raises :exc:`Usage` if the files cannot be written, or are what is read."""
        self._files: list[BinaryIO] = []
        names = (path, f"{path}.reasons")
        self._ours = {name for name in names if not os.path.lexists(name)}
        try:
            for name in names:
                # Without a buffer: what was written is there, whatever becomes of this process.
                self._files.append(open(name, "ab", buffering=0))  # noqa: SIM115
        except OSError as error:
            self.close()
            raise Usage(f"--dead-letter {error.filename}: {error.strerror}") from None
        if any(os.path.samestat(os.fstat(file.fileno()), os.fstat(source.fileno())) for file in self._files):
            self.close()
            raise Usage(f"--dead-letter {path}: this is the file that is read")
        self.failure = ""
        """Why no more can be written."""

    def add(self, record: Iterable[bytes], reason: dict[str, object]) -> None:
        """Writes one record, in pieces, and the reason."""
        if self.failure:
            return
        records, reasons = self._files
        try:
            for piece in record:
                _write(records, piece)
            _write(reasons, json.dumps(reason, ensure_ascii=False).encode("utf-8", "backslashreplace") + b"\n")
        except OSError as error:
            self.failure = f"the dead letters cannot be written: {error.strerror}"

    def close(self) -> None:
        for file in self._files:
            if file.name in self._ours and os.fstat(file.fileno()).st_size == 0:
                os.unlink(file.name)
            file.close()
        self._files = []


def _write(file: BinaryIO, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[file.write(view) :]

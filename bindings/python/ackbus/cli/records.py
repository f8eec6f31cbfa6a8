"""From a file to records, one at a time: what is read is bounded, however large the file."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, BinaryIO, NoReturn

MAX_RECORD = 64 << 20
"""The largest payload that any nats-server can be set up to take."""
CHUNK = 64 << 10
LENGTH = struct.Struct(">I")


class RecordError(Exception):
    """This record cannot be published; the next one may."""


class InputError(Exception):
    """The input cannot be read on from here."""


@dataclass(slots=True)
class Record:
    """One record."""

    number: int
    """From 1; of a text format, the number of its line."""
    payload: bytes
    value: Any = None
    """With ``ndjson``: what the line says."""
    problem: str = ""
    """Why it cannot be published."""
    rest: Iterator[bytes] | None = None
    """Of a line that is too long: what follows ``payload``. It is gone when the next record is taken."""


class Source:
    """A file whose progress can be seen."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.taken = 0
        """Bytes read so far."""

    def lines(self) -> Iterator[Record]:
        """Each line without its newline. An empty line is an empty record."""
        number = 0
        while line := self._file.readline(MAX_RECORD + 1):
            number += 1
            self.taken += len(line)
            if line.endswith(b"\n"):
                yield Record(number, line[:-1])
            elif len(line) <= MAX_RECORD:
                # The last one, without a newline.
                yield Record(number, line)
            else:
                rest = self._rest_of_line()
                yield Record(number, line, problem=f"the line is longer than {MAX_RECORD} bytes, which no server takes", rest=rest)
                for _ in rest:
                    pass

    def _rest_of_line(self) -> Iterator[bytes]:
        while chunk := self._file.readline(CHUNK):
            self.taken += len(chunk)
            yield chunk.removesuffix(b"\n")
            if chunk.endswith(b"\n"):
                return

    def ndjson(self) -> Iterator[Record]:
        """Each line that is not blank, with its value. The payload is the line as it is."""
        for record in self.lines():
            if record.problem:
                yield record
            elif record.payload.strip():
                try:
                    record.value = json.loads(record.payload, parse_constant=_refuse)
                except RecursionError:
                    record.problem = "not valid JSON: it is nested too deeply"
                except ValueError as error:
                    record.problem = f"not valid JSON: {error}"
                yield record

    def frames(self) -> Iterator[Record]:
        """Each frame: four bytes of length, the most significant first, and as many bytes. Raises :exc:`InputError` where the input is no such thing."""
        number = 0
        while head := self._file.read(LENGTH.size):
            number += 1
            if len(head) < LENGTH.size:
                raise InputError(f"the input ends inside the length of record {number}: {len(head)} of {LENGTH.size} bytes")
            (size,) = LENGTH.unpack(head)
            if size > MAX_RECORD:
                raise InputError(f"record {number} claims to have {size} bytes; allowed: {MAX_RECORD}. Is the input in frames of 4-byte big-endian lengths?")
            payload = self._file.read(size)
            if len(payload) < size:
                raise InputError(f"the input ends inside record {number}: {len(payload)} of {size} bytes")
            self.taken += LENGTH.size + size
            yield Record(number, payload)


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is no JSON")


FORMATS: dict[str, Callable[[Source], Iterator[Record]]] = {"lines": Source.lines, "ndjson": Source.ndjson, "frames": Source.frames}


def pack(payload: bytes, form: str) -> bytes:
    """The record as it stands in a file of this format."""
    return LENGTH.pack(len(payload)) + payload if form == "frames" else payload + b"\n"

#!/usr/bin/env python3
"""check-servers.py VERSION=BINARY...: the integration tests against each of these nats-servers, and the table in docs/SERVERS.md.

`make check-servers` installs the servers and calls it. The table is written when all of them were asked, also if tests failed; then the exit code is 1.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "SERVERS.md"
BEGIN, END = "<!-- table: make check-servers -->", "<!-- end of the table -->"
# What meets a real server. All other tests are about this library alone.
SUITES = {"server": "integration tests", "conformance": "conformance scenarios"}
RESULT = re.compile(r"^test result: \w+\. (\d+) passed; (\d+) failed", re.MULTILINE)
FAILED = re.compile(r"^(\S+) --- FAILED$", re.MULTILINE)
SKIPPED = re.compile(r"^skipped (\S+):", re.MULTILINE)


class Run:
    """One suite against one server."""

    def __init__(self, suite: str, binary: str) -> None:
        command = ["cargo", "test", "--locked", "--quiet", "-p", "ackbus", "--no-fail-fast", "--test", suite, "--", "--nocapture"]
        done = subprocess.run(command, cwd=ROOT, env=os.environ | {"ACKBUS_NATS_SERVER": binary}, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        self.output = done.stdout
        found = RESULT.search(self.output)
        if found is None:
            sys.exit(f"{self.output}\ncheck-servers: {' '.join(command)} told no result")
        self.passed, self.failed = int(found[1]), int(found[2])
        self.failures = FAILED.findall(self.output)
        self.skipped = sorted(set(SKIPPED.findall(self.output)))


def scenarios() -> int:
    text = (ROOT / "tests" / "conformance" / "scenarios.json").read_text(encoding="utf-8")
    return len(re.findall(r'^  "name":', text, re.MULTILINE))


def row(version: str, runs: dict[str, Run]) -> str:
    server, conformance = runs["server"], runs["conformance"]
    skipped = conformance.skipped
    held = "all" if conformance.failed == 0 else "not all"
    told = f"{held} of {scenarios() - len(skipped)}" + (f"; skipped: {', '.join(f'`{name}`' for name in skipped)}" if skipped else "")
    failures = "".join(f"; `{name}` failed" for name in server.failures)
    return f"| {version} | {server.passed} of {server.passed + server.failed} passed{failures} | {told} |"


def main(servers: list[str]) -> int:
    if not servers or not all("=" in server for server in servers):
        sys.exit("usage: check-servers.py VERSION=BINARY...")
    rows, failed = [], False
    for version, binary in (server.split("=", 1) for server in servers):
        said = subprocess.run([binary, "--version"], check=True, capture_output=True, text=True).stdout.strip()
        if not said.endswith(f"v{version}"):
            sys.exit(f"check-servers: {binary} says {said!r}, not v{version}")
        runs = {suite: Run(suite, binary) for suite in SUITES}
        for suite, run in runs.items():
            print(f"nats-server {version}: {SUITES[suite]}: {run.passed} passed, {run.failed} failed", flush=True)
            if run.failed:
                failed = True
                print(run.output)
        rows.append(row(version, runs))
    table = "\n".join(["| nats-server | integration tests | conformance scenarios |", "|---|---|---|", *rows])
    page = PAGE.read_text(encoding="utf-8")
    before, rest = page.split(BEGIN)
    _, after = rest.split(END)
    PAGE.write_text(f"{before}{BEGIN}\n\n{table}\n\n{END}{after}", encoding="utf-8")
    print(table)
    return int(failed)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

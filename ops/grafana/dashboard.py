#!/usr/bin/env python3
"""Writes ackbus.json, the dashboard: `python3 ops/grafana/dashboard.py >ops/grafana/ackbus.json`. A test compares the two.

A dashboard as JSON says each thing twenty times; here it is said once. Nothing but the standard library.
"""

from __future__ import annotations

import json
from typing import Any

DATASOURCE = {"type": "prometheus", "uid": "${datasource}"}
# job and instance come from the scrape, publisher from ackbus: the option `name`.
WHERE = 'job=~"$job",instance=~"$instance",publisher=~"$publisher"'
BY = "job, instance, publisher"
LEGEND = "{{instance}} {{publisher}}"


def where(more: str = "") -> str:
    return "{" + WHERE + ("," + more if more else "") + "}"


def rate(metric: str, more: str = "") -> str:
    return f"rate({metric}{where(more)}[$__rate_interval])"


def variable(name: str, label: str, query: str) -> dict[str, Any]:
    everything = {"text": "All", "value": "$__all", "selected": True}
    return {
        "name": name, "label": label, "type": "query", "datasource": DATASOURCE, "query": query, "refresh": 2, "sort": 1,
        "multi": True, "includeAll": True, "allValue": ".+", "current": everything,
    }  # fmt: skip


def target(expr: str, legend: str = LEGEND, **more: Any) -> dict[str, Any]:
    return {"datasource": DATASOURCE, "expr": expr, "legendFormat": legend, **more}


def thresholds(*steps: tuple[float | None, str]) -> dict[str, Any]:
    return {"mode": "absolute", "steps": [{"value": value, "color": color} for value, color in steps]}


class Grid:
    """Panels from left to right, in rows of 24 columns."""

    def __init__(self) -> None:
        self.panels: list[dict[str, Any]] = []
        self._x = self._y = self._height = 0

    def add(self, kind: str, title: str, description: str, width: int, height: int, **more: Any) -> None:
        if self._x + width > 24:
            self._x, self._y = 0, self._y + self._height
        place = {"x": self._x, "y": self._y, "w": width, "h": height}
        self.panels.append({"id": len(self.panels) + 1, "type": kind, "title": title, "description": description, "gridPos": place, **more})
        self._x, self._height = self._x + width, height

    def row(self, title: str) -> None:
        self._x, self._y = 0, self._y + self._height
        place = {"x": 0, "y": self._y, "w": 24, "h": 1}
        self.panels.append({"id": len(self.panels) + 1, "type": "row", "title": title, "collapsed": False, "panels": [], "gridPos": place})
        self._height = 1

    def stat(self, title: str, description: str, unit: str, expr: str, *steps: tuple[float | None, str]) -> None:
        self.add(
            "stat", title, description, 6, 4, datasource=DATASOURCE, targets=[target(expr, title)],
            fieldConfig={"defaults": {"unit": unit, "thresholds": thresholds(*steps)}, "overrides": []},
            options={"reduceOptions": {"calcs": ["lastNotNull"]}, "colorMode": "value", "graphMode": "area"},
        )  # fmt: skip

    def lines(self, title: str, description: str, unit: str, targets: list[dict[str, Any]], *, stacked: bool = False) -> None:
        custom = {"fillOpacity": 30 if stacked else 0, "stacking": {"mode": "normal" if stacked else "none"}, "showPoints": "never"}
        self.add(
            "timeseries", title, description, 12, 8, datasource=DATASOURCE, targets=targets,
            fieldConfig={"defaults": {"unit": unit, "min": 0, "custom": custom}, "overrides": []},
            options={"tooltip": {"mode": "multi", "sort": "desc"}, "legend": {"displayMode": "list", "placement": "bottom"}},
        )  # fmt: skip


def panels() -> list[dict[str, Any]]:
    grid = Grid()
    errors, acked = f"sum({rate('ackbus_publish_error_messages_total')})", f"sum({rate('ackbus_published_messages_total')})"
    grid.row("Now")
    grid.stat("Acknowledged", "Messages a second that the server acknowledged.", "mps", acked, (None, "text"))
    grid.stat(
        "Failed", "The part of all settled messages that settled without an acknowledgement.", "percentunit",
        f"({errors} / ({errors} + {acked} > 0)) or vector(0)", (None, "green"), (0.000001, "orange"), (0.01, "red"),
    )  # fmt: skip
    grid.stat(
        "Fullest window", "The largest part of its limit that is pending, of all publishers. At 100 % publishes wait or are refused.", "percentunit",
        f"max(ackbus_pending_messages{where()} / ackbus_pending_limit_messages{where()})", (None, "green"), (0.5, "orange"), (0.8, "red"),
    )  # fmt: skip
    grid.stat(
        "Not connected", "Publishers that have lost a connection and seek another, and those that gave up.", "short",
        f'count(ackbus_state{where("ackbus_state=~" + json.dumps("connecting|reconnecting|failed"))} == 1) or vector(0)', (None, "green"), (1, "red"),
    )  # fmt: skip

    grid.row("Messages")
    grid.lines("Rates", "Accepted is what publish took; each of them is acknowledged or fails. Ephemeral messages are not acknowledged.", "mps", [
        target(f"sum({rate(f'ackbus_{metric}_messages_total')})", legend)
        for metric, legend in [("accepted", "accepted"), ("published", "acknowledged"), ("publish_error", "failed"), ("ephemeral", "ephemeral")]
    ])  # fmt: skip
    grid.lines("Pending against the limit", "Accepted and not yet settled, beside the option max_pending.", "short", [
        target(f"ackbus_pending_messages{where()}"),
        target(f"ackbus_pending_limit_messages{where()}", LEGEND + " limit"),
    ])  # fmt: skip
    grid.lines("Pending bytes against the limit", "What pending messages and reports not yet returned hold, beside the option max_pending_bytes.", "bytes", [
        target(f"ackbus_pending_bytes{where()}"),
        target(f"ackbus_pending_limit_bytes{where()}", LEGEND + " limit"),
    ])  # fmt: skip
    grid.lines("Bytes written", "Bytes of the protocol that the kernel took, before TLS.", "Bps", [target(f"sum by ({BY}) ({rate('ackbus_out_bytes_total')})")])

    grid.row("Acknowledgements")
    bucket = "ackbus_ack_latency_seconds_bucket"
    grid.add(
        "heatmap", "Latency", "From publish to the acknowledgement, how many messages took how long.", 12, 8, datasource=DATASOURCE,
        targets=[target(f"sum by (le) (increase({bucket}{where()}[$__rate_interval]))", "{{le}}", format="heatmap")],
        fieldConfig={"defaults": {"unit": "short"}, "overrides": []},
        options={
            "calculate": False, "yAxis": {"unit": "s"}, "tooltip": {"mode": "single", "yHistogram": True},
            "color": {"mode": "scheme", "scheme": "Oranges", "steps": 64},
        },
    )  # fmt: skip
    quantiles = [target(f"histogram_quantile({q}, sum by (le) ({rate(bucket)}))", legend) for q, legend in [(0.5, "p50"), (0.9, "p90"), (0.99, "p99")]]
    mean = f"sum({rate('ackbus_ack_latency_seconds_sum')}) / sum({rate('ackbus_ack_latency_seconds_count')})"
    grid.lines("Latency quantiles", "Read between the histogram's bounds, which are powers of two; the mean is exact.", "s", [*quantiles, target(mean, "mean")])

    grid.row("Trouble")
    failed = target(f"sum by (status) ({rate('ackbus_failed_messages_total')}) > 0", "{{status}}", exemplar=True)
    grid.lines(
        "Failures by status", "Messages that settled without an acknowledgement. Exemplars have the text of a recent one.", "mps", [failed], stacked=True
    )
    grid.lines("Attempts", "Attempts whose ack_wait ran out, attempts after the first, and those of messages that may have been stored already.", "ops", [
        target(f"sum({rate(f'ackbus_{metric}_attempts_total')})", legend)
        for metric, legend in [("ack_timeout", "without an answer"), ("retry", "repeated"), ("resent", "sent again")]
    ])  # fmt: skip
    meaning = "Connections after the first; gates closed because a stream was missing, overloaded or without a leader; publishes refused for want of room."
    grid.lines("Reconnects, gates, full windows", meaning, "short", [
        target(f"sum(increase(ackbus_{metric}_total{where()}[$__rate_interval]))", legend)
        for metric, legend in [("reconnects", "reconnects"), ("gates_held", "gates closed"), ("queue_full_calls", "window full")]
    ])  # fmt: skip
    meaning = "Copies that the stream knew already; replies that change nothing; events and ephemeral messages that nobody got."
    grid.lines("Duplicates, late and alien replies, what was dropped", meaning, "short", [
        target(f"sum(increase(ackbus_{metric}_total{where()}[$__rate_interval]))", legend)
        for metric, legend in [
            ("duplicate_messages", "duplicates"), ("late_ack_replies", "late replies"), ("alien_replies", "alien replies"),
            ("dropped_events", "events dropped"), ("ephemeral_dropped_messages", "ephemeral dropped"),
        ]
    ])  # fmt: skip
    grid.add(
        "state-timeline", "Connected", "Whether every connection of a publisher stood.", 24, 6, datasource=DATASOURCE,
        targets=[target(f"ackbus_connected{where()}")],
        fieldConfig={"defaults": {"unit": "short", "thresholds": thresholds((None, "red"), (1, "green"))}, "overrides": []},
        options={"showValue": "never", "mergeValues": True},
    )  # fmt: skip
    return grid.panels


def dashboard() -> dict[str, Any]:
    job = 'job=~"$job"'
    return {
        "title": "ackbus",
        "uid": "ackbus",
        "description": "Publishers of ackbus: rates, pending messages, acknowledgements, failures.",
        "tags": ["ackbus"],
        "schemaVersion": 39,
        "editable": False,
        "refresh": "30s",
        "time": {"from": "now-1h", "to": "now"},
        "templating": {
            "list": [
                {"name": "datasource", "label": "Data source", "type": "datasource", "query": "prometheus", "current": {}},
                variable("job", "Job", "label_values(ackbus_connected, job)"),
                variable("instance", "Instance", f"label_values(ackbus_connected{{{job}}}, instance)"),
                variable("publisher", "Publisher", f'label_values(ackbus_connected{{{job},instance=~"$instance"}}, publisher)'),
            ]
        },
        "panels": panels(),
    }


if __name__ == "__main__":
    print(json.dumps(dashboard(), indent=2))

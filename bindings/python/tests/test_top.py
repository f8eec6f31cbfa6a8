"""``ackbus top``: what it makes of an exposition, as arithmetic and as text."""

from __future__ import annotations

import math
import random
import time

import pytest
from expositions import EOF, START, counter, failed, gauge, histogram, whole

from ackbus.cli.top import words
from ackbus.cli.top.reading import ACCEPTED, ACKED, Failure, NotMetrics, Reading, readings
from ackbus.cli.top.trend import Trend, increase, quantile, rebinned
from ackbus.cli.top.view import Glyphs, Painter, State


def read(text: str, *, openmetrics: bool = True) -> Reading:
    (reading,) = readings(text, openmetrics=openmetrics).values()
    return reading


def test_a_whole_exposition() -> None:
    said = [("NO_STREAM", 5, r"no \"stream\" \\ \n at all", 1_700_000_100.25), ("DENIED", 0, "", 0)]
    reading = read(whole(accepted=12, acked=7, pending=5, failures=said, latencies=(4, 6, 7, 7)))
    assert reading.name == "orders"
    assert (reading.samples[ACCEPTED], reading.samples[ACKED], reading.samples["ackbus_start_time_seconds"]) == (12, 7, START)
    assert reading.buckets == [(0.001, 4), (0.01, 6), (0.1, 7), (math.inf, 7)]
    assert reading.failures == [Failure("NO_STREAM", 5, 'no "stream" \\   at all', 1_700_000_100.25), Failure("DENIED", 0)]
    assert reading.state == "connected"
    assert (reading.info["server"], reading.info["server_version"]) == ("nats://127.0.0.1:4222", "2.15.1")


def test_several_publishers_are_told_apart() -> None:
    text = "# TYPE ackbus_pending_messages gauge\n"
    text += "".join(f'ackbus_pending_messages{{publisher="{name}"}} {value}\n' for name, value in (("a", 1), ("b", 2)))
    found = readings(text + 'other_total{publisher="c"} 3\n' + EOF, openmetrics=True)
    assert {name: reading.samples for name, reading in found.items()} == {"a": {"ackbus_pending_messages": 1}, "b": {"ackbus_pending_messages": 2}}


def test_the_older_format_with_labels_of_the_programs_own() -> None:
    """As a collector of client_golang serves it: no exemplars, and perhaps no label ``publisher``."""
    text = """
# HELP ackbus_published_messages_total Acknowledged.
# TYPE ackbus_published_messages_total counter
ackbus_published_messages_total{bus="a",zone="x"} 7
ackbus_published_messages_total{bus="b",zone="x"} 1e+06
# TYPE ackbus_publisher_info gauge
ackbus_publisher_info{bus="a",server="nats://s:1",zone="x"} 1
# TYPE ackbus_failed_messages_total counter
ackbus_failed_messages_total{bus="a",status="NO_STREAM",zone="x"} 3
"""
    found = readings(text, openmetrics=False)
    assert list(found) == ["bus=a,zone=x", "bus=b,zone=x"]
    assert found["bus=a,zone=x"].samples == {ACKED: 7}
    assert found["bus=a,zone=x"].info["server"] == "nats://s:1" and found["bus=b,zone=x"].info == {}
    assert found["bus=a,zone=x"].failures == [Failure("NO_STREAM", 3)]
    assert found["bus=b,zone=x"].samples == {ACKED: 1e6}
    assert list(readings("ackbus_connected 1\n", openmetrics=False)) == ["ackbus"]


def test_publishers_of_one_name_in_several_programs() -> None:
    text = 'ackbus_connected{publisher="a",instance="1"} 1\nackbus_connected{publisher="a",instance="2"} 0\nackbus_connected{publisher="b"} 0\n'
    assert list(readings(text, openmetrics=False)) == ["a instance=1", "a instance=2", "b"]


def test_nothing_that_a_terminal_would_obey() -> None:
    text = failed([("NO\x1bSTREAM", 1, "\x1b]0;title\x07\x1b[2Jtext\u202e", 1.0)], "a\x1b[1m") + EOF
    reading = read(text)
    assert reading.name == "a [1m"
    assert reading.failures == [Failure("NO STREAM", 1, "]0;title  [2Jtext", 1.0)]


def test_numbers_that_are_none() -> None:
    text = "".join(gauge(name, math.nan) for name in ("ackbus_pending_messages", "ackbus_pending_limit_bytes", "ackbus_ack_latency_max_seconds"))
    text += (
        gauge("ackbus_start_time_seconds", math.inf).replace("inf", "+Inf") + gauge("ackbus_pending_bytes", 1e300) + gauge("ackbus_pending_limit_messages", -5)
    )
    text += failed([("DENIED", math.inf, "", 0), ("CLOSED", 1, "text", 7.0)]).replace("inf", "+Inf") + EOF
    reading = read(text)
    assert reading.samples == {"ackbus_pending_bytes": 1e300, "ackbus_pending_limit_messages": -5}
    assert reading.failures == [Failure("CLOSED", 1, "text", 7.0)]
    assert "pending       –" in drawn(state(Trend(reading, 0.0)))


@pytest.mark.parametrize(
    ("text", "openmetrics", "what"),
    [
        ("", True, "this is not OpenMetrics: Missing # EOF at end"),
        (whole()[:-6], True, "this is not OpenMetrics: Missing # EOF at end"),
        ("<html>\n", True, "this is not OpenMetrics: "),
        ("<html>\n", False, "this is not the Prometheus text format: "),
        ("\x00\x01", False, "this is not the Prometheus text format: "),
        ("", False, "there are no metrics in it"),
        (EOF, True, "there are no metrics in it"),
        ('ackbus_publisher_info{publisher="a",server="x"} 1\n', False, "no metrics of ackbus among 1 samples"),
        ("a 1\nb 2\n" + EOF, True, "no metrics of ackbus among 2 samples"),
    ],
)
def test_what_is_no_exposition_of_ackbus(text: str, openmetrics: bool, what: str) -> None:
    with pytest.raises(NotMetrics) as caught:
        readings(text, openmetrics=openmetrics)
    assert str(caught.value).startswith(what)


@pytest.mark.parametrize(
    ("share", "counts", "expected"),
    [
        (0.5, [0, 0, 0, 0], None),
        (0.5, [10, 10, 10, 10], 0.0005),
        (1.0, [10, 10, 10, 10], 0.001),
        (0.5, [0, 10, 10, 10], 0.0055),
        (0.99, [0, 0, 100, 100], 0.01 + 0.99 * 0.09),
        (0.5, [4, 6, 8, 8], 0.001),
        (0.75, [4, 6, 8, 8], 0.01),
        (0.5, [0, 0, 0, 8], math.inf),
        (0.9, [0, 0, 8, 10], math.inf),
        (0.8, [0, 0, 8, 10], 0.1),
    ],
)
def test_quantiles_are_those_of_prometheus(share: float, counts: list[int], expected: float | None) -> None:
    found = quantile(share, list(zip((0.001, 0.01, 0.1, math.inf), counts, strict=True)))
    assert found == (expected if expected is None else pytest.approx(expected))


def test_a_quantile_lies_in_the_bucket_of_the_true_one() -> None:
    chance = random.Random(5)
    bounds = [2.0**power for power in range(-13, 7)]
    for _ in range(200):
        data = sorted(chance.lognormvariate(-5, 2) for _ in range(chance.randint(1, 500)))
        buckets = [*((bound, float(sum(value <= bound for value in data))) for bound in bounds), (math.inf, float(len(data)))]
        for share in (0.5, 0.99):
            true = data[max(math.ceil(share * len(data)) - 1, 0)]
            upper = min(bound for bound in [*bounds, math.inf] if true <= bound)
            lower = max((bound for bound in bounds if bound < true), default=0.0)
            found = quantile(share, buckets)
            assert found is not None and lower <= found <= upper


def test_rates_and_quantiles_are_those_of_the_interval() -> None:
    trend = Trend(read(whole(accepted=1_000, acked=900, errors=3, latencies=(0, 0, 900, 900))), 50.0)
    assert trend.rates == {} and trend.quantile(0.5) == pytest.approx(0.055), "of all so far"
    trend.take(read(whole(accepted=1_500, acked=1_100, errors=4, latencies=(200, 200, 1_100, 1_100))), 52.0)
    assert trend.rates[ACCEPTED] == 250 and trend.rates[ACKED] == 100 and trend.rates["ackbus_publish_error_messages_total"] == 0.5
    assert not any(name.startswith(("ackbus_pending", "ackbus_start", "ackbus_ack")) for name in trend.rates), "what only grows has a rate, nothing else"
    assert trend.quantile(0.5) == pytest.approx(0.0005), "all 200 of the interval were below 1 ms"
    assert [(point.acked, point.p99) for point in trend.points] == [(100, pytest.approx(0.00099))]
    trend.take(read(whole(accepted=1_500, acked=1_100, errors=4, latencies=(200, 200, 1_100, 1_100))), 53.0)
    assert trend.rates[ACKED] == 0 and trend.quantile(0.5) is None
    assert [point.p99 for point in trend.points] == [pytest.approx(0.00099), None]


def test_no_quantile_is_above_the_slowest() -> None:
    figures = gauge("ackbus_ack_latency_max_seconds", 0.012) + EOF
    trend = Trend(read(histogram((0, 0, 0, 0)) + figures), 0.0)
    trend.take(read(histogram((0, 0, 100, 100)) + figures), 1.0)
    assert trend.quantile(0.99) == 0.012 and trend.points[0].p99 == 0.012
    assert trend.quantile(0.01) == pytest.approx(0.0109)
    trend.take(read(histogram((0, 0, 100, 200)) + figures), 2.0)
    assert trend.quantile(0.99) == math.inf, "there is no telling"


@pytest.mark.parametrize("after", [whole(accepted=2_000, start=START + 1), whole(accepted=999)], ids=["another start", "a counter that fell"])
def test_a_program_that_was_started_again_begins_anew(after: str) -> None:
    trend = Trend(read(whole(accepted=500)), 0.0)
    trend.take(read(whole(accepted=1_000)), 1.0)
    assert trend.rates[ACCEPTED] == 500
    trend.take(read(after), 2.0)
    assert (trend.rates, trend.seconds, list(trend.points)) == ({}, 0.0, [])
    trend.take(read(after.replace("2000", "2010").replace("999", "1009")), 3.0)
    assert trend.rates[ACCEPTED] == 10


def test_while_there_is_no_reading_there_are_no_rates() -> None:
    trend = Trend(read(whole(accepted=0, acked=0)), 0.0)
    trend.take(read(whole(accepted=10, acked=10, latencies=(10, 10, 10, 10))), 1.0)
    trend.pause()
    assert trend.rates == {} and trend.quantile(0.5) is None
    trend.take(read(whole(accepted=110, acked=110, latencies=(110, 110, 110, 110))), 11.0)
    assert trend.rates[ACCEPTED] == 10, "over all the time since the last one"


def test_a_reading_of_the_same_moment_changes_nothing() -> None:
    trend = Trend(read(whole(accepted=0)), 1.0)
    trend.take(read(whole(accepted=5)), 1.0)
    trend.take(read(whole(accepted=10)), 2.0)
    assert trend.rates[ACCEPTED] == 10


def test_the_last_minute_is_kept_and_no_more() -> None:
    trend = Trend(read(whole()), 0.0)
    for second in range(1, 200):
        trend.take(read(whole(acked=second)), float(second))
    assert [point.time for point in trend.points] == [float(second) for second in range(140, 200)]


def test_bounds_that_are_new_count_from_nothing() -> None:
    assert increase([(1.0, 5.0), (math.inf, 6.0)], [(1.0, 7.0), (2.0, 8.0), (math.inf, 9.0)]) == [(1.0, 2.0), (2.0, 8.0), (math.inf, 3.0)]


def test_neighbours_share_a_place_and_keep_it() -> None:
    values: list[tuple[int, float | None]] = [(number, float(number)) for number in range(1, 8)]
    assert rebinned(values, 7) == [1, 2, 3, 4, 5, 6, 7]
    assert rebinned(values, 4) == [1, 3, 5, 7]
    assert rebinned(values[1:], 4) == [3, 5, 7], "2 and 3 stay together when 1 has gone"
    assert rebinned(values, 1) == [7]
    assert rebinned([(4, None), (6, 1.0)], 9) == [None, None, 1.0]
    assert rebinned([(4, None), (5, 2.0), (6, 1.0)], 2) == [2.0, 1.0]
    assert rebinned([], 5) == [] and rebinned(values, 0) == []


@pytest.mark.parametrize(
    ("number", "expected"), [(0, "0"), (0.04, "0"), (0.25, "0.2"), (3, "3"), (3.04, "3"), (9.94, "9.9"), (9.96, "10"), (12.5, "12"), (1_234_567, "1,234,567")]
)
def test_rates_in_words(number: float, expected: str) -> None:
    assert words.rate(number) == expected


@pytest.mark.parametrize(
    ("number", "expected"),
    [(0, "0 B"), (1023, "1023 B"), (1023.6, "1.0 KiB"), (1024, "1.0 KiB"), (102_400, "100 KiB"), (1 << 27, "128 MiB"), (1 << 61, "2048 PiB")],
)
def test_sizes_in_words(number: float, expected: str) -> None:
    assert words.size(number) == expected


@pytest.mark.parametrize(
    ("number", "expected"), [(-3, "0 s"), (59.9, "59 s"), (60, "1 min"), (3_599, "59 min"), (3_600, "1 h 00 min"), (86_399, "23 h 59 min"), (90_000, "1 d 1 h")]
)
def test_durations_in_words(number: float, expected: str) -> None:
    assert words.duration(number) == expected


def state(*trends: Trend, problem: str = "") -> State:
    return State("http://127.0.0.1:9464/metrics", {trend.last.name: trend for trend in trends}, problem, time.monotonic() - 5)


def busy() -> Trend:
    failures = [
        ("DENIED", 1, "older", time.time() - 100),
        ("NO_STREAM", 5, "日本語 nobody takes it", time.time() - 3),
        ("CLOSED", 2, "", 0),
        ("PURGED", 0, "", 0),
    ]
    trend = Trend(read(whole(accepted=900, acked=900, latencies=(0, 900, 900, 900))), 0.0)
    for second in range(1, 90):
        counts = (0, 900 + second * 10, 900 + second * 12, 900 + second * 12)
        figures = whole(accepted=900 + second * 1_000, acked=900 + second * 12, errors=8, retries=second, pending=8_250, failures=failures, latencies=counts)
        trend.take(read(figures), float(second))
    return trend


def drawn(what: State, width: int = 80, glyphs: Glyphs | None = None) -> list[str]:
    return [line.plain.rstrip() for line in Painter(width, glyphs or Glyphs()).lines(what)]


def test_the_view_of_one_publisher() -> None:
    lines = drawn(state(busy()))
    head = "orders  connected  nats://127.0.0.1:4222  nats-server 2.15.1  up "
    assert lines[0].startswith(head)
    rest = lines[lines.index("") :]
    assert rest == [
        "",
        "                  a second          in all",
        "accepted             1,000          89,900",
        "acked                   12           1,968",
        "errors                   0               8",
        "sent              1000 KiB        87.8 MiB",
        "",
        "pending       ███████████████████████████████░░░░░░░  82%      8,250 of 10,000",
        "              ██░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░   6%    8.1 MiB of 128 MiB",
        "",
        "ack latency   p50 6.4 ms  p99 94.6 ms  slowest 250 ms",
        "  p99                           ██████████████████████████████ to 94.6 ms",
        "  acked                         ██████████████████████████████ to 12/s",
        "",
        "retries 89",
        "",
        "last errors      count         ago",
        "NO_STREAM            5         3 s  日本語 nobody takes it",
        "DENIED               1       1 min  older",
        "CLOSED               2           –",
    ]


def test_the_view_of_several() -> None:
    two = busy()
    two.last.name, two.last.state = "billing", "reconnecting"
    two.last.samples["ackbus_connected"] = 0
    lines = drawn(state(busy(), two))
    assert lines[:3] == [
        "publisher                accepted/s  acked/s  errors/s     pending      p99",
        "orders     connected          1,000       12         0  8,250  82%  94.6 ms",
        "billing    reconnecting       1,000       12         0  8,250  82%  94.6 ms",
    ]
    assert lines[4] == "         last errors      count         ago"
    assert [line.split()[:2] for line in lines[5:]] == [[name, status] for status in ("NO_STREAM", "DENIED", "CLOSED") for name in ("orders", "billing")]
    assert drawn(state(busy(), two), 40)[:2] == ["publisher  acked/s  errors/s     pending", "orders          12         0  8,250  82%"]


def test_a_problem_is_told_above_the_last_figures() -> None:
    trend = busy()
    trend.pause()
    lines = drawn(state(trend, problem="http://127.0.0.1:9464/metrics: Connection refused"))
    assert lines[:2] == ["http://127.0.0.1:9464/metrics: Connection refused; for 5 s, trying again", ""]
    assert "accepted                 –          89,900" in lines
    assert "ack latency   p50 –  p99 –  slowest 250 ms" in lines


def test_nothing_is_wider_than_the_terminal() -> None:
    one, several, problem = (
        state(busy()),
        state(busy(), Trend(read(gauge("ackbus_connected", 0, "x" * 300) + EOF), 0.0)),
        state(busy(), problem="it is gone " * 30),
    )
    for width in range(1, 200):
        for what in (one, several, problem):
            assert all(line.cell_len <= width for line in Painter(width, Glyphs()).lines(what)), width


def test_where_there_is_no_unicode() -> None:
    for what in (state(busy()), state(Trend(read(counter("ackbus_published_messages", 3) + EOF), 0.0))):
        lines = drawn(what, glyphs=Glyphs.of("ISO-8859-1"))
        assert "\n".join(line for line in lines if "日本語" not in line).isascii()
    assert Glyphs.of("utf-8") == Glyphs()


def test_what_is_not_told_is_a_dash() -> None:
    lines = drawn(state(Trend(read(counter("ackbus_published_messages", 3) + histogram((0, 0, 0, 0)) + EOF), 0.0)))
    assert lines[0] == "orders  –"
    assert "acked                    –               3" in lines and "accepted                 –               –" in lines
    assert "pending       –" in lines
    assert "ack latency   p50 –  p99 –  (all so far)" in lines


def test_latencies_beyond_the_last_bound() -> None:
    trend = Trend(read(whole(acked=8, latencies=(0, 0, 0, 8))), 0.0)
    assert "ack latency   p50 over 100 ms  p99 over 100 ms  slowest 250 ms  (all so far)" in drawn(state(trend))

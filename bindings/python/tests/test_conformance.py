"""Every scenario of ``tests/conformance``, through the synchronous publisher and through the one for asyncio."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from conformance import AioBus, Control, Failure, SyncBus, play, scenarios


@pytest.fixture(scope="module")
def control() -> Iterator[Control]:
    control = Control()
    yield control
    control.end()


@pytest.mark.parametrize("bus", [SyncBus, AioBus])
@pytest.mark.parametrize("scenario", scenarios(), ids=lambda scenario: scenario["name"])
def test_it_holds(scenario: dict[str, Any], bus: Any, control: Control) -> None:
    play(scenario, control, bus)


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (lambda scenario: scenario["expect"]["reports"][0].update(status="ACK_TIMEOUT"), "status: wanted 'ACK_TIMEOUT'"),
        (lambda scenario: scenario["expect"]["reports"][0].update(tag=2), "tag 2 was not reported"),
        (lambda scenario: scenario["expect"].update(reports=[]), "reports that nobody expects"),
        (lambda scenario: scenario["expect"]["stats"].update(published=2), "figures: wanted {'published': 2}"),
        (lambda scenario: scenario["expect"].update(events=["LAME_DUCK"]), "events: ['LAME_DUCK'] missing"),
        (lambda scenario: scenario["expect"]["streams"]["ORDERS"][0].update(payload="other"), "ORDERS: wanted {'subject'"),
        (lambda scenario: scenario["expect"]["streams"].update(ORDERS=None), "there is a stream ORDERS"),
        (lambda scenario: scenario["steps"][0].update(fails={"status": "QUEUE_FULL"}), "step 1 (publish): it did not fail"),
        (lambda scenario: scenario["steps"][0].update(topic="a b"), "step 1 (publish): it failed: INVALID_TOPIC"),
    ],
)
def test_the_runner_sees_what_does_not_hold(change: Any, complaint: str, control: Control) -> None:
    (scenario,) = [scenario for scenario in scenarios() if scenario["name"] == "a_message_is_persisted"]
    change(scenario)
    with pytest.raises(Failure) as raised:
        play(scenario, control, SyncBus)
    assert complaint in str(raised.value)

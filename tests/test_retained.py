"""Topic `state` of a centre that is larger than a message: what fits, in whole parts, and how much was left out."""

import msgspec

from gateway.contract import STATE_BYTES_MAX, dictionary
from gateway.contract_types import State
from gateway.retained import fitting
from tests.hall_rig import Hall

QUEUE = {"hall": Hall().state}


def state(sensors: int, alarms: int, queues: int = 1) -> dict:
    name = "building-2/floor-11/wing-north/room-{:04}/underfloor-leak-rope"
    return {
        "boot": 7, "mono": 86_412.301, "wall": 1_795_564_800.123, "outputs": {"valve": True},
        "values": {name.format(n): {"value": -0.123456789012 - n, "age_s": 1234567.8} for n in range(sensors)},
        "alarms": {f"source:{name.format(n)}": "returned-unacknowledged" for n in range(alarms)},
        "queues": {f"queue-{n}": QUEUE["hall"] for n in range(queues)},
    }  # fmt: skip


def test_what_fits_is_published_as_it_is():
    small = state(100, 20)
    assert fitting(small) == dictionary(small)


def test_of_what_is_too_large_values_go_first_and_are_counted_and_alarms_stay():
    payload = fitting(state(500, 200))
    found = msgspec.json.decode(payload, type=State)
    assert 0.95 * STATE_BYTES_MAX < len(payload) <= STATE_BYTES_MAX
    assert len(found.alarms) == 200 and found.queues and found.outputs == {"valve": True}
    assert found.left_out == {"values": 500 - len(found.values)} and len(found.values) > 200
    assert list(found.values) == list(state(len(found.values), 0)["values"]), "the first ones of the site file stay"


def test_even_alarms_are_left_out_rather_than_an_old_state_shown():
    payload = fitting(state(2000, 2000, 200))
    found = msgspec.json.decode(payload, type=State)
    assert len(payload) <= STATE_BYTES_MAX and found.values == {} and found.queues == {}
    assert found.left_out == {"values": 2000, "queues": 200, "alarms": 2000 - len(found.alarms)}
    assert len(found.alarms) > 400

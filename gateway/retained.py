"""Topic `state` as it is published: the whole of it, or what fits. A screen that shows an old one would lie."""

from typing import Any

from gateway.contract import STATE_BYTES_MAX, Json, dictionary

_GIVEN_UP = ("values", "queues", "alarms")  # in that order: what people must see last stays longest


def fitting(state: Json) -> bytes:
    """STATE_BYTES_MAX at most. What is too much is left out from the end and counted: `left_out`, {part: how many}."""
    payload = dictionary(state)
    left_out: dict[str, int] = {}
    for part in _GIVEN_UP:
        if len(payload) <= STATE_BYTES_MAX:
            break
        whole: Any = state[part]
        left_out[part] = len(whole)
        room = STATE_BYTES_MAX - len(dictionary({**state, part: {}, "left_out": left_out}))
        kept: Json = {}
        for name, item in whole.items():
            room -= len(dictionary({name: item}))  # a little more than it takes
            if room < 0:
                break
            kept[name] = item
        left_out[part] -= len(kept)
        state = {**state, part: kept, "left_out": dict(left_out)}
        payload = dictionary(state)
    return payload

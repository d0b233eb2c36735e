"""What was kept and cannot be read by this version is forgotten alone, and nothing that can be is."""

import msgspec
import pytest

from gateway.taken_up import _KINDS, readable
from tests.hall_rig import Hall, visit
from tests.house import House
from tests.test_facilities import LIFT, World
from tests.test_modes import SITE


def test_all_that_a_running_box_keeps_is_taken_up(tmp_path):
    house, hall, world = House(tmp_path, SITE), Hall(), World(LIFT)
    house.deeds.begin_mode("test", "", 15, "desk", house.now_s)
    house.deeds.override("strobe", "on", 15, "desk", house.now_s)
    house.say("gpio:17", True)
    house.later(40)
    house.pipeline.shelve("leak", 1)
    house.commit()
    hall.say("opened", window="1")
    visit(hall, "A1", 60, 60)
    hall.say("rated", "A1", "1", value=5)
    world.says("lift/ok", True)
    world.after(400)
    for kept in (house.committed, hall.kept, world.kept):
        kept = msgspec.json.decode(msgspec.json.encode(kept))
        assert kept and readable(kept) == kept


@pytest.mark.parametrize(
    "value", [5, "x", {"boot": "x", "state": 7, "1": 2, "occurrence": None, "last": 9}, [1], [[], []]]
)
def test_what_cannot_be_read_is_forgotten_alone_and_said_and_the_box_starts(tmp_path, caplog, value):
    house = House(tmp_path, SITE)
    bad = {f"{prefix}cord" for prefix, kind in _KINDS if kind is not str}
    house.committed = readable(dict.fromkeys(bad, value) | {"level:cellar/rope": False, "mode:odd:": value})
    assert house.committed == {"level:cellar/rope": False}
    assert caplog.text.count("cannot be taken up and is forgotten") == len(bad) + 1
    house.kill()
    house.say("gpio:17", True)
    house.later(1)
    assert house.pins["strobe"].on

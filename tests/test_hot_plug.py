"""Plugs pulled, swapped and put back while the gateway runs: each is told in words, and no fact is lost or misnamed."""

import asyncio
import os
import pty
import tty
from collections.abc import Callable, Coroutine, Sequence
from pathlib import Path

import pytest

from drivers.kiosk_line import KioskLink
from drivers.kiosk_side import KioskSide
from drivers.node_frame import EVENT
from drivers.node_link import NodeLink
from drivers.node_side import NodeSide
from drivers.reading import Event, Lost, Reading, Run, Said
from drivers.serial_line import SerialLine
from drivers.stranger import KIOSK, NODE, PRINTER, who
from gateway.ports import Port
from gateway.words import Words
from tests.line_world import Clock

Side = NodeSide | KioskSide
WANTED = {"n1": ["flow1"], "n2": ["loop1"]}


class Wall:
    """Sockets under names; devices go in and out. Bytes go over pseudo-terminals, the clock is turned by hand."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.clock = Clock()
        self.facts: list[Said] = []
        self.ports: dict[str, Port] = {}
        self._in: dict[str, tuple[int, int, Side]] = {}

    def port(self, name: str) -> Port:
        line = SerialLine(lambda: self.folder / name, "115200 8N1", self.clock.mono_s)
        link = (
            KioskLink(name, self.clock.mono_s)
            if name.startswith("k")
            else NodeLink(name, self.clock.mono_s, wanted=WANTED)
        )
        loop = asyncio.get_running_loop()
        self.ports[name] = port = Port(name, line, link, loop, self._take(name), self.clock.mono_s, 15.0)
        return port

    def _take(self, name: str) -> Callable[[Sequence[Said]], None]:
        def take(facts: Sequence[Said]) -> None:
            for fact in facts:
                self.facts += fact.readings() if isinstance(fact, Run) else [fact]
            last = facts[-1]
            seq = last.last if isinstance(last, Lost | Run) else last.seq
            self.ports[name].durable(last.boot, seq)

        return take

    def plug(self, name: str, side: Side) -> None:
        master, slave = pty.openpty()
        tty.setraw(slave)
        os.set_blocking(master, False)
        (self.folder / name).symlink_to(os.ttyname(slave))
        side.reset_line()
        self._in[name] = (master, slave, side)

    def pull(self, name: str) -> None:
        master, slave, _ = self._in.pop(name)
        (self.folder / name).unlink()
        os.close(master)
        os.close(slave)

    async def until(self, ready: Callable[[], object], turns: int = 400) -> None:
        for _ in range(turns):
            self.clock.s += 0.1
            for master, _, side in self._in.values():
                if out := side.outgoing(1000):
                    os.write(master, out)
            for port in self.ports.values():
                port.tick()
            await asyncio.sleep(0.003)
            for master, _, side in self._in.values():
                try:
                    side.feed(os.read(master, 4096))
                except BlockingIOError:
                    pass
            if ready():
                return
        raise AssertionError({name: port.facts() for name, port in self.ports.items()})

    def close(self) -> None:
        for port in self.ports.values():
            port.close()

    def values(self, point: str) -> list[object]:
        return [fact.value for fact in self.facts if isinstance(fact, Reading) and fact.point == point]

    def labels(self) -> list[object]:
        return [fact.data["label"] for fact in self.facts if isinstance(fact, Event)]


def run(story: Callable[[Wall], Coroutine[object, object, None]], folder: Path) -> None:
    async def told() -> None:
        wall = Wall(folder)
        try:
            await story(wall)
        finally:
            wall.close()

    asyncio.run(asyncio.wait_for(told(), 50))


def node(wall: Wall, text: str, boot: int = 3) -> NodeSide:
    return NodeSide(boot, 64, text, wall.clock.mono_ms)


def chinese(port: Port) -> tuple[str, str]:
    found, do = Words("zh-CN").fault(port.trouble)
    assert found != port.trouble, "not translated"
    return found, do


def test_a_node_and_a_kiosk_swapped_are_both_told_and_lose_nothing(tmp_path: Path) -> None:
    async def story(wall: Wall) -> None:
        n1, k1 = wall.port("n1"), wall.port("k1")
        flow, kiosk = node(wall, "fw;flow*1"), KioskSide(5, 64, "hall", wall.clock.mono_ms)
        wall.plug("n1", flow)
        wall.plug("k1", kiosk)
        flow.add(EVENT, 0, 1.0)
        kiosk.add("issued", {"label": "A001"})
        await wall.until(lambda: len(wall.facts) == 2)
        wall.pull("n1")
        wall.pull("k1")
        await wall.until(lambda: n1.trouble and k1.trouble)
        wall.plug("n1", kiosk)
        wall.plug("k1", flow)
        flow.add(EVENT, 0, 2.0)
        kiosk.add("issued", {"label": "A002"})
        await wall.until(lambda: "expected a node" in n1.trouble and "expected a kiosk" in k1.trouble)
        assert n1.trouble == f"n1: found {KIOSK} in this socket, expected {NODE}; swap the two plugs, or correct port"
        assert "对调" in chinese(n1)[1] and "对调" in chinese(k1)[1]
        await wall.until(lambda: n1.silent_s and k1.silent_s)
        assert len(wall.facts) == 2, "nothing of it is taken"
        for name in ("n1", "k1"):
            wall.pull(name)
        await wall.until(lambda: not n1.facts()["open"] and not k1.facts()["open"])
        wall.plug("n1", flow)
        wall.plug("k1", kiosk)
        await wall.until(lambda: not flow.undurable and not kiosk.undurable)
        assert wall.values("n1:flow1") == [1.0, 2.0] and wall.labels() == ["A001", "A002"]
        assert not n1.trouble and not k1.trouble and n1.silent_s is None

    run(story, tmp_path)


def test_two_nodes_swapped_are_told_by_their_points_and_nothing_of_them_gets_a_wrong_name(tmp_path: Path) -> None:
    async def story(wall: Wall) -> None:
        n1, n2 = wall.port("n1"), wall.port("n2")
        flow, loop = node(wall, "fw;flow*1"), node(wall, "fw;loop*1")
        wall.plug("n1", loop)
        wall.plug("n2", flow)
        flow.add(EVENT, 0, 2.0)
        loop.add(EVENT, 0, 1.0)
        await wall.until(lambda: "fits n2" in n1.trouble and "fits n1" in n2.trouble)
        assert "n1 上的节点有 loop1" in chinese(n1)[0]
        await wall.until(lambda: n1.silent_s and n2.silent_s)
        assert wall.facts == [] and flow.undurable == loop.undurable == 1, "the nodes keep what is theirs"
        wall.pull("n1")
        wall.pull("n2")
        await wall.until(lambda: not n1.facts()["open"] and not n2.facts()["open"])
        wall.plug("n1", flow)
        wall.plug("n2", loop)
        await wall.until(lambda: not flow.undurable and not loop.undurable)
        assert wall.values("n1:flow1") == [2.0] and wall.values("n2:loop1") == ["normal"]
        assert not n1.trouble and not n2.trouble

    run(story, tmp_path)


def test_another_device_with_the_same_boot_number_is_heard_from_its_first_frame(tmp_path: Path) -> None:
    async def story(wall: Wall) -> None:
        n1 = wall.port("n1")
        old, new = node(wall, "fw;flow*1"), node(wall, "fw;flow*1 temp*1")
        wall.plug("n1", old)
        for value in range(10):
            old.add(EVENT, 0, float(value))
        await wall.until(lambda: not old.undurable)
        wall.pull("n1")
        await wall.until(lambda: not n1.facts()["open"])
        new.add(EVENT, 0, 77.0)
        wall.plug("n1", new)
        await wall.until(lambda: not new.undurable)
        assert wall.values("n1:flow1") == [*map(float, range(10)), 77.0]

    run(story, tmp_path)


def test_a_node_that_lacks_a_point_is_told_and_what_it_has_is_taken(tmp_path: Path) -> None:
    async def story(wall: Wall) -> None:
        n2 = wall.port("n2")
        poor = node(wall, "fw;temp*1")
        wall.plug("n2", poor)
        poor.add(EVENT, 0, 293.0)
        await wall.until(lambda: not poor.undurable)
        assert "no loop1" in n2.trouble and "设置" in chinese(n2)[1] and wall.values("n2:temp1") == [293.0]

    run(story, tmp_path)


@pytest.mark.parametrize("times", [20])
def test_a_plug_pulled_again_and_again_loses_nothing(tmp_path: Path, times: int) -> None:
    async def story(wall: Wall) -> None:
        n1, k1 = wall.port("n1"), wall.port("k1")
        flow, kiosk = node(wall, "fw;flow*1"), KioskSide(5, 64, "hall", wall.clock.mono_ms)
        for turn in range(times):
            flow.add(EVENT, 0, float(turn))
            kiosk.add("issued", {"label": f"A{turn}"})
            wall.plug("n1", flow)
            wall.plug("k1", kiosk)
            await wall.until(lambda: n1.facts()["hello"] and k1.facts()["hello"])
            wall.pull("n1")
            wall.pull("k1")
            await wall.until(lambda: not n1.facts()["open"] and not k1.facts()["open"])
        wall.plug("n1", flow)
        wall.plug("k1", kiosk)
        await wall.until(lambda: not flow.undurable and not kiosk.undurable)
        assert wall.values("n1:flow1") == list(map(float, range(times)))
        assert wall.labels() == [f"A{turn}" for turn in range(times)]

    run(story, tmp_path)


def test_who_speaks_is_told_from_whole_frames_only() -> None:
    assert who(b"\x1b@\xc4\xfa\n\x1dV\x00") == PRINTER
    assert who(b"LK1 B 86400*5B670E1B\n") == KIOSK
    assert who(b"LK1 B 86400*5B670E1C\n") == who(bytes(512)) == who(b"") == ""

"""A page without a browser and without a gateway: what stands for the control socket, and what a browser would send."""

import asyncio
import re
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, TypeVar

from gateway.config import load
from gateway.control import NotRunning
from gateway.page_desk import SESSION, Desk, Gateway
from gateway.page_pin import keep
from gateway.web import Ask, Reply

T = TypeVar("T")
PIN = "hall482916"
HOSTILE = "<script>alert(1)</script>"
SITE = f"""
schema = 1
site = {{ id = "centre", gateway = "centre-a", name = "Centre {HOSTILE}", lang = "en", tz = "Asia/Shanghai" }}
bus.n1 = {{ kind = "node", port = "link:n1" }}
sensor."toilet-f1/cord" = {{ from = "n1:loop1", kind = "pull-cord", name = "Cord {HOSTILE}" }}
sensor."basement/rope" = {{ from = "n1:contact1", kind = "leak", name = "Rope" }}
output.valve = {{ to = "gpio:5", kind = "valve" }}
output.hydrant = {{ to = "gpio:6", kind = "valve", line = "fire" }}
alarm.cord = {{ name = "Help {HOSTILE}", severity = "urgent", any = ["toilet-f1/cord is pulled"], latch = true }}
alarm.leak = {{ name = "Leak", severity = "high", any = ["basement/rope is wet"] }}
facility.lift-1 = {{ name = "Lift {HOSTILE}", duty = "Caretaker" }}
queue.hall = {{ name = "Hall {HOSTILE}" }}
service.A = {{ queue = "hall", name = "Pensions" }}
window.1 = {{ services = ["A"], name = "Window 1" }}
uplink = {{ broker = "mqtt://127.0.0.1:1" }}
"""


def row(alarm: str, **more: Any) -> dict[str, Any]:
    """An alarm as the gateway tells it."""
    plain = {
        "alarm": alarm, "name": alarm, "state": "unacknowledged", "severity": "urgent", "since_s": 120.0,
        "active": True, "order": 1, "first_out": False, "group": "", "chatter": None, "escalation": 0,
        "acknowledged": False, "cause": {}, "may": ["acknowledge", "shelve"], "shelve_h": 8.0, "marks": [],
    }  # fmt: skip
    return plain | more


def said() -> dict[str, Any]:
    """What a quiet centre says, with one alarm."""
    service = {"waiting": 3, "longest_s": 60.0, "windows": 1,
               "predicted": {"wait_s": 600, "low_s": 300, "high_s": 900}}  # fmt: skip
    return {
        "gateway": "centre-a", "wall": 1_795_500_000.0, "connected": True, "troubles": [], "modes": [], "hands": {},
        "outputs": {"valve": True, "hydrant": False}, "queues": {"hall": {"waiting": 3, "services": {"A": service}}},
        "told": [row("cord", name=f"Help {HOSTILE}", cause={"condition": "toilet-f1/cord is pulled", "value": True})],
        "facilities": {"lift-1": {"state": "out-of-service", "case": 2, "open": True, "opened": 1_795_490_000.0,
                                  "acknowledged": False, "cause": "hand", "tested": None}},
    }  # fmt: skip


class Away(Exception):
    """The gateway is away."""


class Page:
    """One page; its clock is turned by hand. asked: what reached the gateway, looks left out."""

    def __init__(self, folder: Path, site: str = SITE, pin: str = PIN) -> None:
        (folder / "site.toml").write_text(site, encoding="utf-8")
        self.folder, self.now_s = folder, 1000.0
        self.found: dict[str, Any] | None = said()
        self.refusal = ""
        self.asked: list[dict[str, Any]] = []
        self.looks = 0
        if pin:
            keep(folder, pin)
        self.site = load(folder / "site.toml")
        self.restart()

    def restart(self) -> None:
        self.desk = Desk(self.site, self.folder, self.mono_s, Gateway(self.folder, self.mono_s, self._ask))

    def mono_s(self) -> float:
        return self.now_s

    def _ask(self, _folder: Path, request: dict[str, Any], _timeout_s: float) -> dict[str, Any]:
        if request["ask"] == "look":
            self.looks += 1
        else:
            self.asked.append(request)
        if self.found is None:
            raise NotRunning("nobody there")
        if self.refusal and request["ask"] != "look":
            raise ValueError(self.refusal)
        return self.found if request["ask"] == "look" else {"done": True}

    def get(self, path: str = "/staff", token: str = "", **more: Any) -> Reply:
        return self._sent(Ask("GET", path, more.pop("query", {}), {}, cookies(token, more), **more))

    def post(self, path: str, token: str = "", **form: str) -> Reply:
        return self._sent(Ask("POST", path, {}, form, cookies(token, {})))

    def login(self, pin: str = PIN) -> str:
        """The session's cookie."""
        return next(each.value for each in self.post("/staff/login", pin=pin).cookies if each.name == SESSION)

    def form(self, token: str) -> str:
        """What every form of this session carries."""
        found = re.search(r'name="form" value="([^"]+)"', self.get(token=token).body)
        assert found
        return found[1]

    def _sent(self, ask: Ask) -> Reply:
        return run(self.desk.answer(ask))


def cookies(token: str, more: dict[str, Any]) -> dict[str, str]:
    return {SESSION: token, "linli_lang": more.pop("lang", "en")}


def run(awaited: Awaitable[T]) -> T:
    async def whole() -> T:
        return await awaited

    return asyncio.run(whole())


Post = Callable[..., Reply]

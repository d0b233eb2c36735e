"""A whole centre as processes in one folder: city, gateway and simulator, and what can be seen of them."""

import contextlib
import os
import re
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from gateway.contract import STREAMS, Json
from gateway.control import NotRunning, ask
from simulator.ledger_file import LedgerError, open_file
from simulator.processes import ROOT, Child, Died, Processes
from simulator.simulate import SIMULATED

SITE = Path(__file__).parent / "sites" / "demo.toml"
START_S = 30.0
_ANSWER_S = 3.0
_VERIFY_S = 300.0
_GOODBYE_S = 5.0
_json = msgspec.json.Decoder().decode


class Verdict(NamedTuple):
    """Of `linli verify`: its exit code, its words, and its counts by name ({} when it could not judge)."""

    code: int
    text: str
    counts: Json


class Stage:
    """folder: an empty one; `state` may be set to another before the gateway starts.

    Starting waits, within a bound, until the child serves; raises Died and Interrupted.
    """

    def __init__(self, folder: Path, processes: Processes, mono_s: Callable[[], float], site: Path = SITE) -> None:
        self.state, self.links = folder / "state", folder / "links"
        self._site = site
        self.truth, self.ledger_path = folder / "truth.jsonl", folder / "city.db"
        self.processes = processes
        self._mono_s = mono_s

    def start_city(self, url: str, mqtt: str = "auto") -> Child:
        where = ["--broker", url, "--mqtt", mqtt, "--db", str(self.ledger_path)]
        child = self.processes.start("city", "city", "--ack", *where)
        self._served(child, lambda: child.said("city: acknowledging"))
        return child

    def start_gateway(self, url: str, plant: str | None = None) -> Child:
        """plant: the name of a planted bug (simulator/planted.py). Returns at once; see `await_gateway`."""
        module, name = ("simulator.planted", [plant]) if plant else ("gateway", [])
        run = ["run", str(self._site), "--state", str(self.state), "--links", str(self.links), "--broker", url]
        return self.processes.start("gateway", *name, *run, module=module)

    def await_gateway(self, child: Child) -> None:
        self._served(child, lambda: bool(self.connected(self.status())))

    def start_simulator(
        self, scenario: str, seconds: float, seed: int, speed: float = 1.0, nodes: str = SIMULATED
    ) -> Child:
        """Its first second begins when this returns, or up to 0.1 s before."""
        place = ["--links", str(self.links), "--truth", str(self.truth)]
        what = ["--scenario", scenario, "--seconds", str(seconds), "--seed", str(seed)]
        what += ["--speed", str(speed), "--nodes", nodes]
        child = self.processes.start("simulator", "simulate", str(self._site), *place, *what)
        self._served(child, lambda: child.said("simulating "))
        return child

    def _served(self, child: Child, true: Callable[[], bool]) -> None:
        if not self.processes.wait_for(true, START_S, self._mono_s):
            raise Died(f"{child.name} did not serve within {START_S:.0f} s; the end of {child.log}:\n{child.tail()}")

    def start_page(self) -> Child:
        """At a free port, behind the others for CPU; what becomes of it is no matter of the demo's. See `page_url`."""
        page = ["page", str(self._site), "--state", str(self.state), "--port", "0"]
        child = self.processes.start("page", *page)
        child.wanted = False
        with contextlib.suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, child.pid, 10)
        return child

    @staticmethod
    def page_url(child: Child) -> str:
        """Where it can be looked at, "" while it is not there yet."""
        found = re.search(r"^http://127\.0\.0\.1:\d+/", child.log.read_text(errors="replace"), re.MULTILINE)
        return found[0] if found else ""

    def status(self) -> Json | None:
        """What the gateway says of itself; None when it does not answer."""
        return self._ask({"ask": "status"})

    def _ask(self, request: Json) -> Json | None:
        try:
            return ask(self.state, request, _ANSWER_S)
        except (NotRunning, ValueError):
            return None

    @staticmethod
    def connected(status: Json | None) -> bool | None:
        """Whether the gateway has its broker; None when nobody knows."""
        uplink: Any = (status or {}).get("uplink")
        return bool(uplink["connected"]) if isinstance(uplink, dict) else None

    def all_is_held(self) -> bool:
        """Nothing waits in the gateway, and its city has acknowledged every number it gave."""
        status: Any = self.status()
        if status is None or not status["uplink"]["connected"]:
            return False
        if status["waiting"]:
            self._ask({"ask": "probe", "wait_s": 0.1})  # local readings would wait half a minute for their commit
            return False
        acked = status["uplink"]["acked"]
        return all(acked.get(stream, 0) >= status["heads"].get(stream, 0) for stream in STREAMS)

    def end(self, gateway: Child, city: Child) -> int:
        """The gateway says goodbye with its heads, the city hears it, then the city ends. The gateway's exit code."""
        code = gateway.stop()
        self.processes.wait_for(self._offline, _GOODBYE_S, self._mono_s)
        city.stop()
        return code

    def _offline(self) -> bool:
        db = open_file(self.ledger_path, watching=True)
        try:
            return db.execute("SELECT 1 FROM gateways WHERE state = 'offline'").fetchone() is not None
        finally:
            db.close()

    def verify(self, excuse_lost: bool = False) -> Verdict:
        """`linli verify` on truth and ledger, in a process of its own."""
        files = ["--truth", str(self.truth), "--db", str(self.ledger_path)]
        command = [sys.executable, "-m", "gateway", "verify", *files, "--json"]
        command += ["--excuse-lost"] if excuse_lost else []
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=_VERIFY_S, cwd=ROOT, check=False)
        except subprocess.TimeoutExpired:
            return Verdict(1, f"linli verify took longer than {_VERIFY_S:.0f} s", {})
        *lines, last = done.stdout.splitlines() or [""]
        try:
            return Verdict(done.returncode, "\n".join(lines), _json(last))
        except msgspec.DecodeError:
            return Verdict(done.returncode or 1, done.stdout + done.stderr, {})


class Looker:
    """Reads the city's ledger file beside the city. Shows nothing until there is one."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._db: sqlite3.Connection | None = None
        self._row = 0

    def packs(self) -> dict[str, int] | None:
        """{stream: packs held}, None when there is no ledger yet."""
        if not self._open():
            return None
        assert self._db
        return dict(self._db.execute("SELECT stream, count(*) FROM packs GROUP BY stream").fetchall())

    def fresh(self) -> Iterator[tuple[str, Json]]:
        """(stream, record) of alarms and events that came since the last call."""
        if not self._open():
            return
        assert self._db
        which = "rowid > ? AND stream IN ('alarms', 'events')"
        query = f"SELECT rowid, stream, body FROM packs WHERE {which} ORDER BY rowid"
        for row, stream, body in self._db.execute(query, (self._row,)).fetchall():
            self._row = row
            for record in _json(body)["records"]:
                yield stream, record

    def close(self) -> None:
        if self._db:
            self._db.close()

    def _open(self) -> bool:
        if self._db is None and self._path.is_file():
            try:
                self._db = open_file(self._path, watching=True)
            except LedgerError:
                return False  # its tables are being made
        return self._db is not None

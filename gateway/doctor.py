"""`linli doctor SITE --state DIR`: one line for each thing that must be right before the installer leaves.

A gateway that runs is asked over its control socket, because a port has one owner; only when none runs the doctor opens
things itself. `--walk` goes from sensor to sensor and waits until the city holds what the installer does there.
"""

import argparse
import io
import json
import os
import select
import sys
import termios
import tty
import unicodedata
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, TextIO
from urllib.parse import urlsplit

from drivers.kinds import KINDS, is_active
from gateway import config
from gateway.clock import SystemClock
from gateway.contract import Json
from gateway.control import NotRunning, ask
from gateway.doctor_checks import Ask, running
from gateway.doctor_closed import closed, holder
from gateway.doctor_finding import FAIL, OK, WARN, Finding, found
from gateway.words import LANGUAGES, Words

GOOD, CHECK_FAILED, WRONG_USE = 0, 1, 2
WALK_WAIT_S = 60.0
_SLICE_S = 1.0  # of waiting, so that the key `s` is heard soon
_ANSWER_S = 30.0  # the gateway waits 10 s for the disk and 10 s for the city


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("site", type=Path, metavar="SITE", help="the site file")
    parser.add_argument("--state", required=True, type=Path, metavar="DIR", help="the gateway's state folder")
    parser.add_argument("--links", type=Path, metavar="DIR", help="the simulator's ports and pins instead of real ones")
    parser.add_argument("--broker", metavar="URL", help="instead of the site file's")
    parser.add_argument("--walk", action="store_true", help="sensor by sensor: seen, stored, held by the city")
    parser.add_argument("--lang", choices=LANGUAGES, help="instead of the site file's")
    parser.add_argument("--json", action="store_true", help="one JSON document instead of lines")


def run(args: argparse.Namespace) -> int:
    """0: nothing failed. 1: a line says FAIL. 2: there is no such site file."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # a serial console may know no Chinese
    if not args.site.is_file():
        print(f"linli doctor: {args.site}: found no file, expected a site file; see the path", file=sys.stderr)
        return WRONG_USE
    if args.broker and not (urlsplit(args.broker).scheme in ("mqtt", "mqtts") and urlsplit(args.broker).hostname):
        print(f"linli doctor: --broker: found {args.broker}, expected mqtt://HOST:PORT; write it so", file=sys.stderr)
        return WRONG_USE
    try:
        site = config.load(args.site)
    except config.ConfigErrors as errors:
        say = Words(args.lang or LANGUAGES[0])
        return _report(_site_mistakes(errors, say), [say("name.site")], args.json, say)
    say = Words(args.lang or site.lang)
    names = [say("name.gateway"), say("name.database"), *site.buses, *site.devices, *site.sensors]
    if args.walk:
        shown = sys.stderr if args.json else sys.stdout
        with _Keys() as keys:
            found_all = list(_Walk(site, _asker(args.state), say, keys, shown).findings())
        return _report(found_all, names, args.json, say, "walk.summary", silent=not args.json)
    return _report(_findings(site, args, say), names, args.json, say)


def _asker(folder: Path) -> Ask:
    return lambda request, timeout_s: ask(folder, request, timeout_s)


def _site_mistakes(errors: config.ConfigErrors, say: Words) -> Iterator[Finding]:
    for p in errors.problems:
        values = {"line": p.line, "path": p.path, "found": p.found, "expected": p.expected, "do": p.do}
        yield found(say, say("name.site"), FAIL, "site.wrong", **values)


def _findings(site: config.Site, args: argparse.Namespace, say: Words) -> Iterator[Finding]:
    counts = {"buses": len(site.buses), "sensors": len(site.sensors), "alarms": len(site.alarms)}
    yield found(say, say("name.site"), OK, "site.well", gateway=site.gateway, cfg=site.cfg, **counts)
    try:
        yield from running(site, _asker(args.state), say)
    except NotRunning:
        if pid := holder(args.state):
            yield found(say, say("name.gateway"), FAIL, "gateway.mute", pid=pid, folder=args.state)
        else:
            yield from closed(site, args.state, args.links, args.broker, SystemClock(site.clock.trust), say)


# -- printing --------------------------------------------------------------------------------------------------------


def _report(
    findings: Iterable[Finding], names: list[str], as_json: bool, say: Words, summary: str = "summary",
    silent: bool = False,
) -> int:  # fmt: skip
    """Each line as soon as it is known, then the counts. silent: the lines were told already."""
    width = max(map(_columns, names))
    told: list[Finding] = []
    for finding in findings:
        told.append(finding)
        if not (as_json or silent):
            print(_line(finding, width), flush=True)
    counts = {verdict: sum(finding.verdict == verdict for finding in told) for verdict in (OK, WARN, FAIL)}
    if as_json:
        body: Json = {"ok": not counts[FAIL], "findings": [finding._asdict() for finding in told]}
        print(json.dumps(body, ensure_ascii=False))
    else:
        both = {"all": len(told), "ok": counts[OK], "failed": counts[FAIL]}
        print(say(summary, warn=counts[WARN], skipped=counts[WARN], **both))
    return CHECK_FAILED if counts[FAIL] else GOOD


def _line(finding: Finding, width: int) -> str:
    name = finding.name + " " * (width - _columns(finding.name))
    return "  ".join(part for part in (name, f"{finding.verdict:<4}", finding.found, finding.do) if part)


def _columns(text: str) -> int:
    """How wide a terminal draws it: a Chinese character takes two columns."""
    return sum(2 if unicodedata.east_asian_width(character) in "WF" else 1 for character in text)


# -- the walk --------------------------------------------------------------------------------------------------------


class _Keys:
    """Single keys while standing in `with`; none when nobody sits at a terminal."""

    def __init__(self) -> None:
        self.there = sys.stdin is not None and sys.stdin.isatty()
        self._before: list[Any] = []

    def __enter__(self) -> "_Keys":
        if self.there:
            self._before = termios.tcgetattr(sys.stdin)
            tty.setcbreak(sys.stdin)
        return self

    def __exit__(self, *_: object) -> None:
        if self.there:
            termios.tcsetattr(sys.stdin, termios.TCSADRAIN, self._before)

    def skip(self) -> bool:
        """Whether `s` was pressed since the last call."""
        skipped = False
        while self.there and select.select([sys.stdin], [], [], 0)[0] and (keys := os.read(sys.stdin.fileno(), 16)):
            skipped |= b"s" in keys.lower()
        return skipped


class _Walk:
    """Prompts and ticks go to `shown` as they happen."""

    def __init__(self, site: config.Site, ask_gateway: Ask, say: Words, keys: _Keys, shown: TextIO) -> None:
        self._site, self._ask, self._say, self._keys, self._shown = site, ask_gateway, say, keys, shown
        self._mono_s = SystemClock().mono_s

    def findings(self) -> Iterator[Finding]:
        say = self._say
        try:
            self._ask({"ask": "status"}, 10.0)
            self._print(say("walk.keys" if self._keys.there else "walk.wait"))
            for sensor in self._site.sensors.values():
                self._print(say(f"walk.{sensor.kind}", id=sensor.id, name=sensor.name))
                finding = self._one(sensor)
                self._print(f"  {'✗' if finding.verdict == FAIL else '✓'} {finding.found}  {finding.do}".rstrip())
                yield finding
        except NotRunning:
            finding = found(say, say("name.gateway"), FAIL, "walk.no_gateway")
            self._print(_line(finding, 0))
            yield finding

    def _print(self, text: str) -> None:
        print(text, file=self._shown, flush=True)

    def _one(self, sensor: config.Sensor) -> Finding:
        """Ask in slices, each against the value of the beginning, until it changed, `s`, or 60 s."""
        say = self._say
        until_s = self._mono_s() + WALK_WAIT_S
        request: Json = {"ask": "seen", "sensor": sensor.id, "wait_s": _SLICE_S}
        while True:
            try:
                answer = self._ask(request, _ANSWER_S)
            except ValueError as error:
                return found(say, sensor.id, FAIL, "gateway.refused", why=error)
            first = answer.get("was") is None and KINDS[sensor.kind].is_contact and not _active(answer.get("value"))
            if answer.get("changed") and not first:
                return self._came(sensor, answer)
            request["was"] = answer.get("value")  # a contact's first word is no pull yet
            if self._keys.skip():
                return found(say, sensor.id, WARN, "walk.skipped")
            if self._mono_s() >= until_s:
                value = say.value(sensor.kind, _value(answer.get("value")))
                return found(say, sensor.id, FAIL, "walk.unseen", value=value, point=sensor.point)

    def _came(self, sensor: config.Sensor, answer: Json) -> Finding:
        say = self._say
        was, value = (say.value(sensor.kind, _value(answer.get(key))) for key in ("was", "value"))
        steps = [say("walk.seen", was=was, value=value)]
        for key, good, bad in (("stored", "walk.stored", "walk.unstored"), ("acked", "walk.held", "walk.unheld")):
            if not answer.get(key):
                return Finding(sensor.id, FAIL, " ✗ ".join([" ✓ ".join(steps), say(bad)]), say(f"{bad}.do"))
            steps.append(say(good))
        return Finding(sensor.id, OK, " ✓ ".join(steps))


def _value(value: object) -> float | bool | str | None:
    return value if isinstance(value, float | int | str) else None


def _active(value: object) -> bool:
    return isinstance(value, bool | str) and is_active(value)

"""`linli reactions`: every reaction of a site, played with the city away, the disk stalled and the gateway killed.

The whole gateway runs on the virtual clock of the nights; the rope gets wet, and later dry. What the pins did, and
when, is the table of docs/reactions.md. Time is counted from the edge of the rope to the edge of the output.
"""

import argparse
import logging
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import NamedTuple

from msgspec.structs import replace

from gateway.config import Reaction, Site, load
from gateway.reactions import ENERGISE
from simulator.night import RESTART_S, Night, Place
from simulator.night_faults import Plan
from simulator.nights import theatre

GOOD, CHECK_FAILED = 0, 1
SITE = Path(__file__).parent / "sites" / "reactions.toml"
WET_S = 10.0  # of a play; the gateway runs since 0
WET_FOR_S = 45.0
AFTER_S = 25.0
LATE_S = 1.0  # beyond the hold time, a tick and a restart after the kill
_LOOK_S = 0.01

Trouble = Callable[["Play", Reaction], None]
"""What fails in a play; of a kill, the reaction in whose course it comes."""


class Seen(NamedTuple):
    """Of one output: its edges as (seconds since the rope was wet, energised), and what it is at the end."""

    edges: list[tuple[float, bool]]
    at_end: bool


class Play(Night):
    """One wet rope, and what every output did about it."""

    def __init__(self, place: Place, folder: Path, first: Callable[["Play"], None]) -> None:
        super().__init__(1, place, folder, WET_S + WET_FOR_S + AFTER_S, partial(Plan, first=first, deeds=()))
        pins = {name: int(output.to.removeprefix("gpio:")) for name, output in place.site.outputs.items()}
        self._outputs = pins
        self._levels = dict.fromkeys(pins, False)
        self.seen: dict[str, list[tuple[float, bool]]] = {name: [] for name in pins}
        self.restarts = 0

    def _rope(self) -> None:
        for device in self.devices:
            device.rate_per_s = 0.2
        self.pins.set(self.ROPE, True)
        for pin in self._outputs.values():
            self.pins.pin(pin).state = 0
        self.loop.call_later(WET_S, self.pins.set, self.ROPE, False)
        self.loop.call_later(WET_S + WET_FOR_S, self.pins.set, self.ROPE, True)
        self._watch()

    def _watch(self) -> None:
        self.loop.call_later(_LOOK_S, self._watch)
        for name, pin in self._outputs.items():
            on = bool(self.pins.pin(pin).state)
            if on != self._levels[name]:
                self._levels[name] = on
                self.seen[name].append((round(self.loop.time() - WET_S, 1), on))

    def _look(self) -> None:
        """The nights ask their promises; here only the gateway itself may not fail."""
        self._say(self.loop.errors)
        self.loop.errors = []

    async def _calm(self) -> None:
        """The play is over."""

    def kill(self) -> None:
        self.restarts += 1
        self.end()
        self.loop.call_later(RESTART_S, self.start)


def calm(play: Play, reaction: Reaction) -> None:
    """Nothing fails."""


def city_away(play: Play, reaction: Reaction) -> None:
    """Since before the rope was wet, and for good: the broker, too."""

    def go() -> None:
        play.city.die()
        play.broker.stop(forgets=False)

    play.loop.call_later(WET_S / 2, go)


def disk_stalled(play: Play, reaction: Reaction) -> None:
    """From before the rope was wet until after the end."""

    def stall() -> None:
        play.card.stalled_until_s = play.loop.time() + 10_000.0

    play.loop.call_later(WET_S - 1.0, stall)


def killed_waiting(play: Play, reaction: Reaction) -> None:
    """In the middle of the hold time; of one without, before the rope is wet by a second."""
    play.loop.call_later(WET_S + (reaction.after_s / 2 or -0.5), play.kill)


def killed_uncommitted(play: Play, reaction: Reaction) -> None:
    """Between the deed and its commit: as soon as the pin has moved."""

    def look() -> None:
        on = bool(play.pins.pin(play._outputs[reaction.output]).state)
        if on == ENERGISE[reaction.action] and not play.restarts:
            play.card.stalled_until_s = 0.0
            play.kill()
        elif not play.restarts and play.loop.time() < WET_S + reaction.after_s + LATE_S:
            play.loop.call_later(0.0005, look)

    def begin() -> None:  # nothing of the last moment before the deed reaches the disk either
        play.card.stalled_until_s = WET_S + reaction.after_s + 1.0
        look()

    play.loop.call_later(WET_S + max(reaction.after_s - 0.5, -0.5), begin)


def killed_after(play: Play, reaction: Reaction) -> None:
    """Two seconds after the deed, which is committed by then."""
    play.loop.call_later(WET_S + reaction.after_s + 2.0, play.kill)


FAILING: dict[str, Trouble] = {"all well": calm, "city away": city_away, "disk stalled": disk_stalled}
KILLS: dict[str, Trouble] = {
    "killed while it waits": killed_waiting,
    "killed before the commit": killed_uncommitted,
    "killed after it": killed_after,
}


def played(place: Place, trouble: Trouble, reaction: Reaction) -> dict[str, Seen]:
    """{output: what it did}. Raises RuntimeError when the gateway itself failed."""
    folder = Path(tempfile.mkdtemp(dir=place.template.parent))
    play = Play(place, folder, lambda play: trouble(play, reaction))
    outcome = play.run()
    if outcome.problems:
        raise RuntimeError("\n".join(outcome.problems))
    return {name: Seen(edges, bool(edges) and edges[-1][1]) for name, edges in play.seen.items()}


def is_right(reaction: Reaction, seen: Seen) -> bool:
    """Driven once and in its time, restarts included; then undone by itself, or held for a hand on the spot."""
    on = ENERGISE[reaction.action]
    first = next((at for at, level in seen.edges if level == on), None)
    undone = reaction.undo == "auto" or (not reaction.undo and reaction.action in ("on", "off"))
    late_s = LATE_S + RESTART_S
    return (
        first is not None and reaction.after_s <= first <= reaction.after_s + late_s and seen.at_end == (on != undone)
    )


def table(site: Site) -> tuple[list[str], bool]:
    """(lines of Markdown, whether all is right)"""
    names = [*FAILING, *KILLS]
    lines = ["| reaction | " + " | ".join(names) + " |", "|---" * (len(names) + 1) + "|"]
    right = True
    with theatre() as theirs:
        place = Place(replace(site, store=theirs.site.store), theirs.template)
        shared = [played(place, trouble, next(iter(site.reactions.values()))) for trouble in FAILING.values()]
        for reaction in site.reactions.values():
            found = [seen[reaction.output] for seen in shared]
            found += [played(place, kill, reaction)[reaction.output] for kill in KILLS.values()]
            right &= all(is_right(reaction, seen) for seen in found)
            after = f" after {reaction.after_s:g} s" if reaction.after_s else ""
            cells = [f"`{reaction.name}`: {reaction.output} {reaction.action}{after}"]
            cells += [_words(site, reaction, seen) for seen in found]
            lines.append("| " + " | ".join(cells) + " |")
    return lines, right


def _words(site: Site, reaction: Reaction, seen: Seen) -> str:
    words = ("open", "closed") if site.outputs[reaction.output].kind == "valve" else ("off", "on")
    said = ", ".join(f"{words[on]} {at:.1f} s" for at, on in seen.edges) or "nothing"
    return said if is_right(reaction, seen) else f"**wrong**: {said}"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("site", nargs="?", type=Path, default=SITE, metavar="SITE",
                        help="with the nights' devices (default: simulator/sites/reactions.toml)")  # fmt: skip


def run(args: argparse.Namespace) -> int:
    logging.disable(logging.ERROR)  # what fails is on purpose
    lines, right = table(load(args.site))
    print("\n".join(lines))
    return GOOD if right else CHECK_FAILED

"""The city's hand on this box: each command that comes over MQTT gets one answer, and none is done without a trace.

The counterpart of desk.py. It runs on the box's loop: commands.py judges, by_hand.py does, and what was done is
answered once its record is durable.
"""

import logging
from collections.abc import Callable

import msgspec

from gateway import snapshot
from gateway.box import Box, Parts
from gateway.by_hand import ByHand
from gateway.commands import Again, Commands, Delivery, Order, Refusal
from gateway.config import Site
from gateway.contract import STREAMS, Json, Record
from gateway.contract_commands import (
    OPERATE,
    PACKS_MAX,
    RESULT_BYTES_MAX,
    SPAN_MAX_S,
    AlarmArgs,
    ModeArgs,
    ModelArgs,
    OutputArgs,
    PacksArgs,
    SamplesArgs,
    ShelveArgs,
    result,
)
from gateway.pending import Wanted

log = logging.getLogger(__name__)

WHY_MAX = 1000  # characters; a message may quote what came
TOLD_A_MINUTE = 10  # refusals that become events; the rest is counted
HEAVY_EVERY_S = 10.0  # between two reads that make packs
_WAY = "city"
_MAKE_PACKS = ("snapshot", "samples")  # answered when those are stored, with the heads: up to where they stand


class CityDesk:
    """Every delivery is followed by one `uplink.answer`, whatever it was."""

    def __init__(self, box: Box, parts: Parts, site: Site, commands: Commands) -> None:
        self._box = box
        self._parts = parts
        self._commands = commands
        self._hand = ByHand(parts.pipeline, site, parts.mono_s)
        self._told: list[float] = []  # when the last refusals were told
        self._unsaid = 0
        self._heavy_s = -HEAVY_EVERY_S
        self._reads: dict[str, Callable[[Order], Json]] = {
            "state": lambda order: box.state(), "health": lambda order: box.health(),
            "snapshot": self._snapshot, "samples": self._samples, "packs": self._packs,
        }  # fmt: skip

    def take(self, delivery: Delivery) -> None:
        if self._box.stopping:
            self._parts.uplink.answer(None)  # outputs are in their safe state, and it will be another connection
            return
        found = self._commands.judge(delivery)
        if isinstance(found, Again):
            again = found  # what is remembered may not be on the disk yet
            self._box.when_durable(lambda: self._answer(again.request_id, again.said | {"again": True}))
        elif isinstance(found, Refusal):
            self._refuse(found)
        elif found.kind == OPERATE:
            self._operate(found)
        else:
            self._read(found)

    # -- answers -------------------------------------------------------------------------------------------------------

    def _answer(self, request_id: str, said: Json) -> None:
        label = self._parts.wall.label()
        payload = result(request_id, label.boot, label.mono, said)
        if len(payload) > RESULT_BYTES_MAX:
            why = f"found {len(payload)} bytes of answer, expected at most {RESULT_BYTES_MAX}; see the topic state"
            said = {"status": "refused", "reason": "too-big", "why": why}
            payload = result(request_id, label.boot, label.mono, said)
        self._parts.uplink.answer(payload)

    def _refuse(self, refusal: Refusal) -> None:
        """Told as an event, ten times a minute: a flood of commands must not fill the disk."""
        refusal = refusal._replace(why=_one_line(refusal.why[:WHY_MAX]), do=_one_line(refusal.do[:60]))
        now_s = self._parts.mono_s()
        self._told = [at_s for at_s in self._told if now_s - at_s < 60]
        if len(self._told) < TOLD_A_MINUTE:
            self._told.append(now_s)
            log.warning("a command was refused: %s: %s", refusal.reason, refusal.why)
            data: Json = {"value": refusal.reason, "why": refusal.why, "unsaid": self._unsaid}
            more = {"request_id": refusal.request_id, "do": refusal.do, "by": refusal.by}
            data |= {key: value for key, value in more.items() if value}
            self._parts.pending.record("events", Record("command.refused", _WAY, now_s, data), now_s)
            self._unsaid = 0
        else:
            self._unsaid += 1
        if refusal.request_id is None:
            self._parts.uplink.answer(None)
        else:
            self._answer(refusal.request_id, {"status": "refused", "reason": refusal.reason, "why": refusal.why})

    def _tried(self, order: Order, deed: Callable[[Order], Json]) -> Json | Refusal:
        """A ValueError is a sentence for whoever asked; anything else is our own mistake, and answered all the same."""
        try:
            return deed(order)
        except ValueError as error:
            why = str(error)[:WHY_MAX]
        except Exception as error:
            log.exception("command %s", order.do)
            why = f"found {error!r} while doing it, expected none; look at state, and report it"
        return Refusal("not-possible", why, order.request_id, order.do, order.by)

    # -- operate -------------------------------------------------------------------------------------------------------

    def _operate(self, order: Order) -> None:
        """Done, told and remembered in one commit; answered after it."""
        data = self._tried(order, self._do)
        if isinstance(data, Refusal):
            self._commands.remember(order, {"status": "refused", "reason": data.reason, "why": data.why})
            self._refuse(data)
            return
        said: Json = {"status": "done", "data": data}
        self._commands.remember(order, said)
        done: Json = {"value": order.do, "request_id": order.request_id, "by": order.by, "key": order.key}
        now_s = self._parts.mono_s()
        self._parts.pending.record("events", Record("command.done", _WAY, now_s, done), now_s)
        self._box.when_durable(lambda: self._answer(order.request_id, said))

    def _do(self, order: Order) -> Json:
        """Raises ValueError."""
        hand, args, by = self._hand, order.args, f"{_WAY}:{order.by}"
        if isinstance(args, OutputArgs):
            hand.output(args.output, args.action, _minutes(args), by, on_site=False)
            deeds = self._parts.pipeline.deeds
            return {"energised": deeds.outputs()[args.output], "hand": deeds.hands().get(args.output)}
        if isinstance(args, ModeArgs):
            return {"modes": hand.mode(args.mode, args.place, _minutes(args), by)["modes"]}
        if isinstance(args, ModelArgs):
            pipeline = self._parts.pipeline
            return {"models": pipeline.models(args.deed, args.model, args.version, args.after_days, by)}
        assert isinstance(args, AlarmArgs)
        if isinstance(args, ShelveArgs):
            done = hand.shelve(args.alarm, args.hours, by)
        else:
            deed = {"acknowledge": hand.acknowledge, "reset": hand.reset, "unshelve": hand.unshelve}[order.do]
            done = deed(args.alarm, by)
        return {"done": done, "state": self._parts.pipeline.standing().get(args.alarm, "normal")}

    # -- read ----------------------------------------------------------------------------------------------------------

    def _read(self, order: Order) -> None:
        data = self._tried(order, self._reads[order.do])
        if isinstance(data, Refusal):
            self._refuse(data)
            return
        if order.do in _MAKE_PACKS:
            found = data
            self._box.when_durable(lambda: self._done(order, found | {"heads": self._box.heads}))
        else:
            self._done(order, data)

    def _done(self, order: Order, data: Json) -> None:
        self._answer(order.request_id, {"status": "done", "data": data})

    def _heavy(self) -> None:
        """Raises ValueError."""
        now_s = self._parts.mono_s()
        if now_s - self._heavy_s < HEAVY_EVERY_S:
            raise ValueError(
                f"found another such read {now_s - self._heavy_s:.0f} s ago, expected {HEAVY_EVERY_S:.0f} s between "
                "two, because each makes packs; ask a little later"
            )
        self._heavy_s = now_s

    def _snapshot(self, _order: Order) -> Json:
        """The hourly record now, in the stream health."""
        self._heavy()
        now_s, pending = self._parts.mono_s(), self._parts.pending
        parts = snapshot.parts(pending.kept)
        for data in parts:
            pending.apart("health", Record("snapshot", "box", now_s, data), now_s)
        return {"stream": "health", "parts": len(parts)}

    def _samples(self, order: Order) -> Json:
        """All that the box keeps of that span, in the stream readings. Raises ValueError."""
        args, pipeline = order.args, self._parts.pipeline
        assert isinstance(args, SamplesArgs)
        if args.sensor not in pipeline.sampled:
            known = ", ".join(pipeline.sampled) or "none at this centre"
            raise ValueError(
                f"found sensor {args.sensor[:80]!r}, expected one of which samples are kept: {known}; "
                "what others said is in the stream already"
            )
        if not 0 < args.to_s - args.from_s <= SPAN_MAX_S:
            raise ValueError(
                f"found {args.to_s - args.from_s:g} s, expected more than 0, {SPAN_MAX_S:.0f} at most; ask in pieces"
            )
        self._heavy()
        self._parts.pending.want([Wanted(args.sensor, pipeline.sampled[args.sensor], 0, args.from_s, args.to_s)])
        return {"stream": "readings", "name": f"{args.sensor}/raw"}

    def _packs(self, order: Order) -> Json:
        """Raises ValueError."""
        args = order.args
        assert isinstance(args, PacksArgs)
        if args.stream not in STREAMS:
            raise ValueError(f"found stream {args.stream[:40]!r}, expected one of {', '.join(STREAMS)}; correct it")
        if args.epoch != self._box.epoch:
            raise ValueError(
                f"found epoch {args.epoch[:40]!r}, expected {self._box.epoch}, the one in force; packs of an older one "
                "are asked for by `missing` in down/ack"
            )
        ranges = [(first, last) for first, last in args.ranges]
        head = self._box.heads.get(args.stream, 0)
        for first, last in ranges:
            if not first <= last <= head:
                raise ValueError(f"found [{first}, {last}], expected first <= last <= {head}, the head; correct it")
        packs = sum(last - first + 1 for first, last in ranges)
        if packs > PACKS_MAX:
            raise ValueError(f"found {packs} packs, expected {PACKS_MAX} at most; ask in pieces")
        self._parts.uplink.send_again(args.epoch, args.stream, ranges)
        return {"stream": args.stream, "packs": packs}


def _one_line(text: str) -> str:
    """What quotes a stranger goes into the log and onto screens."""
    return "".join(letter if letter.isprintable() else "�" for letter in text)


def _minutes(args: OutputArgs | ModeArgs) -> float:
    """0 where none were said: what needs some says so."""
    return 0.0 if isinstance(args.minutes, msgspec.UnsetType) else args.minutes

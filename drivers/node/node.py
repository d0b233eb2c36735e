"""A node: what its inputs say goes into the ring, the ring onto the line, settings come back; all in one turn."""

import gc
import time

from drivers.node.flash import TwoSlots, next_boot
from drivers.node.inputs import Contact, Flow, Pad, Pulses
from drivers.node.loops import Loop
from drivers.node.ring import RingNode
from drivers.node_frame import DATA, EVENT
from drivers.node_settings import Settings
from drivers.sender import BEAT_EVERY_MS

FIRMWARE = "linli-node 1.0"
BYTES_A_MS = 11  # of 115200 8N1: what the line takes, so that the port's own buffer never grows long
READ_BYTES = 128  # a turn; the line brings 58 in that time
BURST_BYTES = 256  # as long as the longest frame


class Uptime:
    """Milliseconds since the start that never wrap, from a counter that does. Ask at least once in six days."""

    def __init__(self):
        self._ms = 0
        self._ticks = time.ticks_ms()

    def ms(self):
        ticks = time.ticks_ms()
        self._ms += time.ticks_diff(ticks, self._ticks)
        self._ticks = ticks
        return self._ms


class Node:
    """board: a file of drivers/node/boards, or one like it. folder: of the flash, for boot number and settings."""

    def __init__(self, board, folder):
        self._board = board
        self._uptime = Uptime()
        self._loops = board.loops()
        self._pulses = []
        self._flows = board.flows()
        self._contacts = board.contacts()
        self._pads = board.pads()
        self._counts = {
            "loop": len(self._loops),
            "flow": len(self._flows),
            "contact": len(self._contacts),
            "pad": len(self._pads),
        }
        points = [f"{kind}*{self._counts[kind]}" for kind in ("loop", "flow", "contact", "pad") if self._counts[kind]]
        text = f"{FIRMWARE};{' '.join(points)}"
        self._kept = TwoSlots(folder, "settings")
        settings = self._kept_settings()
        self.side = RingNode(
            next_boot(TwoSlots(folder, "boot")), board.RING, text, self._uptime.ms, settings.text, self._new_settings
        )
        self.side.reset_cause = board.reset_cause()
        self._uart = board.uart()
        self._heard = bytearray(READ_BYTES)
        self._unsent = b""
        self._room = 0
        self._line_ms = self._beat_ms = self._uptime.ms()
        self._obey(settings)

    # -- settings --------------------------------------------------------------------------------------------------

    def _kept_settings(self):
        """Those in flash; none when they are not for this firmware or board any more. The gateway sends its own."""
        kept = self._kept.read()
        try:
            return Settings(str(kept or b"", "utf-8"), self._counts)
        except ValueError:
            return Settings("", self._counts)

    def _new_settings(self, text):
        """Raises ValueError, OSError; then everything stays as it was."""
        settings = Settings(text, self._counts)
        self._kept.write(text.encode())
        self._obey(settings)

    def _obey(self, settings):
        """Inputs as the settings want them. What they held is forgotten: each says its level again."""
        now_ms = self._uptime.ms()
        get = settings.get
        self._tell_ms = get("", 0, "tell_s") * 1000
        names = ("short_below", "alarm_above", "cut_above", "hold_ms")
        self._levels = []  # loops, then contacts: [point, input, when told, whether a change is still to be told]
        self._meters = []  # [point, flow, when told]
        point = 0
        for number, read in enumerate(self._loops, 1):
            self._levels.append([point, Loop(read, *[get("loop", number, name) for name in names]), now_ms, False])
            point += 1
        for number, pin in enumerate(self._flows, 1):
            pulses = Pulses(pin, self._board.FALLING, get("flow", number, "debounce_ms"))
            flow = Flow(pulses, get("flow", number, "pulse_ul"), get("flow", number, "every_ms"), now_ms)
            self._meters.append([point, flow, now_ms])
            point += 1
        for number, pin in enumerate(self._contacts, 1):
            contact = Contact(pin, get("contact", number, "hold_ms"), get("contact", number, "closed_is"))
            self._levels.append([point, contact, now_ms, False])
            point += 1
        self._rated = []
        for number, pins in enumerate(self._pads, 1):
            buttons = [Contact(pin, get("contact", 0, "hold_ms")) for pin in pins]
            self._rated.append((point, Pad(buttons[:5], buttons[5], get("pad", number, "wait_ms"))))
            point += 1

    # -- one turn --------------------------------------------------------------------------------------------------

    def turn(self):
        """Look at every input once, then serve the line. Only after it may the watchdog be fed."""
        now_ms = self._uptime.ms()
        self._look(now_ms)
        self._beat(now_ms)
        self._serve(now_ms)

    def _look(self, now_ms):
        side = self.side
        for entry in self._levels:
            point, level, told_ms, owed = entry
            if level.sample(now_ms) or owed:
                # A change that found the ring full of events is told as soon as there is room: as the level is then.
                entry[3] = (owed and not side.free) or side.add(EVENT, point, float(level.state)) is None
                entry[2] = now_ms
            elif level.state is not None and now_ms - told_ms >= self._tell_ms:
                entry[2] = now_ms
                side.add(DATA, point, float(level.state))
        for entry in self._meters:
            point, flow, told_ms = entry
            if flow.sample(now_ms) or (flow.m3_s is not None and now_ms - told_ms >= self._tell_ms):
                entry[2] = now_ms
                side.add(DATA, point, flow.m3_s)
        for point, pad in self._rated:
            grade = pad.sample(now_ms)
            if grade is not None:
                side.add(EVENT, point, float(grade))

    def _beat(self, now_ms):
        """What the next heartbeat says. Collecting first makes the figure comparable, and the pause a known one."""
        if now_ms - self._beat_ms >= BEAT_EVERY_MS - 500:
            self._beat_ms = now_ms
            gc.collect()
            self.side.free_b = gc.mem_free()
            self.side.supply_mv = self._board.supply_mv()

    def _serve(self, now_ms):
        heard = self._uart.readinto(self._heard)
        if heard:
            self.side.feed(bytes(self._heard[:heard]))
        self._room = min(BURST_BYTES, self._room + BYTES_A_MS * (now_ms - self._line_ms))
        self._line_ms = now_ms
        if not self._unsent and self._room == BURST_BYTES:
            self._unsent = self.side.outgoing(BURST_BYTES)
        if self._unsent:
            taken = self._uart.write(self._unsent) or 0
            self._room -= taken
            self._unsent = self._unsent[taken:]

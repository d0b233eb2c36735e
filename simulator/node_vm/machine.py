"""MicroPython's `machine` as a node uses it, on a pseudo-terminal: same names, same signatures, same answers.

What the pins see comes in lines on standard input: "adc 26 12000", "pin 6 0", "pulses 2 12.5" (a second).
Its end ends the program, so that no node outlives who started it. Runs under MicroPython and CPython.
"""

import select
import sys
import termios
import time

PWRON_RESET, WDT_RESET = 1, 3

_CC, _VTIME, _VMIN = 6, 5, 6  # of a termios list and its control characters, on Linux


class _Box:
    """What is outside: set by run.py. port: path of the line. cause: of this start."""

    port = ""
    cause = PWRON_RESET

    def __init__(self):
        self.raw = {}  # gpio -> 0 to 65535
        self.level = {}  # gpio -> 0 or 1
        self.pulses = {}  # gpio -> [a second, due, when looked at, when the last one was]
        self.handlers = {}
        self._line = b""
        self._poll = select.poll()
        self._poll.register(sys.stdin, select.POLLIN | select.POLLHUP)

    def look(self):
        while self._poll.poll(0):
            byte = sys.stdin.buffer.read(1)
            if not byte:
                sys.exit(0)
            if byte == b"\n":
                self._take(str(self._line, "ascii").split())
                self._line = b""
            else:
                self._line += byte
        for gpio, course in self.pulses.items():
            self._pulse(gpio, course)

    def _take(self, words):
        what, gpio = words[0], int(words[1])
        if what == "adc":
            self.raw[gpio] = int(words[2])
        elif what == "pulses":
            self.pulses[gpio] = [float(words[2]), 0.0, time.ticks_ms(), None]
        else:
            before, self.level[gpio] = self.level.get(gpio, 1), int(words[2])
            if before and not self.level[gpio]:
                self._fall(gpio)

    def _pulse(self, gpio, course):
        """At most one a millisecond, so that none is taken for a bounce."""
        now = time.ticks_ms()
        course[1] += course[0] * time.ticks_diff(now, course[2]) / 1000
        course[2] = now
        if course[1] >= 1 and now != course[3]:
            course[1] = min(course[1] - 1, 100)
            course[3] = now
            self._fall(gpio)

    def _fall(self, gpio):
        if gpio in self.handlers:
            self.handlers[gpio](Pin(gpio))


box = _Box()


class Pin:
    IN, OUT, PULL_UP, PULL_DOWN = 0, 1, 1, 2
    IRQ_FALLING, IRQ_RISING = 4, 8

    def __init__(self, id, mode=-1, pull=-1, value=None):
        self._gpio = id

    def value(self):
        return box.level.get(self._gpio, 1)

    def irq(self, handler=None, trigger=IRQ_FALLING | IRQ_RISING, hard=False):
        box.handlers[self._gpio] = handler

    def gpio(self):
        """Not of the real one: for ADC, which is made of a Pin."""
        return self._gpio


class ADC:
    ATTN_11DB = 3

    def __init__(self, pin, atten=None):
        self._gpio = pin.gpio()

    def read_u16(self):
        return box.raw.get(self._gpio, 65535)  # nothing wired: the pull-up alone

    def read_uv(self):
        return self.read_u16() * 3_300_000 // 65535


class UART:
    """readinto: None when nothing is there. write: how many bytes were taken, None when none."""

    def __init__(self, id, baudrate=9600, tx=None, rx=None, rxbuf=256, txbuf=256, timeout=0):
        micro = sys.implementation.name == "micropython"
        options = {} if micro else {"buffering": 0}
        self._file = open(box.port, "r+b", **options)  # noqa: SIM115  open for as long as the node runs
        attributes = termios.tcgetattr(self._file.fileno())
        # Raw mode is set by who made the terminal. A read gives what is there, at once, as the real one with timeout=0.
        attributes[_CC][_VTIME], attributes[_CC][_VMIN] = (0, 0) if micro else (b"\0", b"\0")
        termios.tcsetattr(self._file.fileno(), termios.TCSANOW, attributes)
        self._poll = select.poll()
        self._poll.register(self._file, select.POLLIN | select.POLLOUT)

    def any(self):
        return int(bool(self._ready() & select.POLLIN))

    def readinto(self, buf):
        box.look()
        return (self._file.readinto(buf) or None) if self._ready() & select.POLLIN else None

    def write(self, buf):
        return self._file.write(buf) if self._ready() & select.POLLOUT else None

    def _ready(self):
        ready = self._poll.poll(0)
        return ready[0][1] if ready else 0


class WDT:
    """timeout: ms. What comes too late finds the chip reset: the program ends, with the reset's cause as its code."""

    def __init__(self, id=0, timeout=5000):
        self._timeout = timeout
        self._fed = time.ticks_ms()

    def feed(self):
        now = time.ticks_ms()
        if time.ticks_diff(now, self._fed) > self._timeout:
            sys.exit(WDT_RESET)
        self._fed = now


def reset_cause():
    return box.cause

"""Raspberry Pi Pico (RP2040), MicroPython 1.29. Goes to the board as /board.py; wiring: docs/node-firmware.md."""

import machine
from machine import ADC, UART, WDT, Pin

RING = 128
FALLING = Pin.IRQ_FALLING
_LOOPS = (26, 27, 28)
_FLOWS = (2, 3)
_CONTACTS = (6, 7, 8, 9)
_PAD = (10, 11, 12, 13, 14, 15)  # worst to best, then the clerk's button
_VSYS = 29  # a third of the supply


def uart():
    """To the gateway. rxbuf: the usual 256 bytes are 22 ms, and one write to flash takes longer."""
    return UART(0, baudrate=115200, tx=Pin(0), rx=Pin(1), rxbuf=1024, txbuf=512, timeout=0)


def loops():
    return [ADC(Pin(gpio)).read_u16 for gpio in _LOOPS]


def flows():
    return _inputs(_FLOWS)


def contacts():
    return _inputs(_CONTACTS)


def pads():
    return [_inputs(_PAD)]


def watchdog():
    """8.3 s is the most this chip can."""
    return WDT(timeout=8000)


def reset_cause():
    """1 power, 3 watchdog."""
    return machine.reset_cause()


def supply_mv():
    return ADC(Pin(_VSYS)).read_u16() * 9900 // 65535


def _inputs(gpios):
    return [Pin(gpio, Pin.IN, Pin.PULL_UP) for gpio in gpios]

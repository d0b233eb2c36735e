"""ESP32 (WROOM-32 boards), MicroPython 1.29. Goes to the board as /board.py; wiring: docs/node-firmware.md."""

import machine
from machine import ADC, UART, WDT, Pin

RING = 128
FALLING = Pin.IRQ_FALLING
_LOOPS = (32, 33, 34)  # of ADC1; each with its own 10 kOhm to 3.3 V outside
_FLOWS = (18, 19)
_CONTACTS = (21, 22, 23, 25)
_PAD = (4, 5, 13, 14, 26, 27)  # worst to best, then the clerk's button
_SUPPLY_UV = 3_300_000


def uart():
    """To the gateway, on UART2."""
    return UART(2, baudrate=115200, tx=Pin(17), rx=Pin(16), rxbuf=1024, txbuf=512, timeout=0)


def loops():
    return [_reader(ADC(Pin(gpio), atten=ADC.ATTN_11DB)) for gpio in _LOOPS]


def flows():
    return _inputs(_FLOWS)


def contacts():
    return _inputs(_CONTACTS)


def pads():
    return [_inputs(_PAD)]


def watchdog():
    return WDT(timeout=8000)


def reset_cause():
    """1 power, 2 hard, 3 watchdog, 4 deep sleep, 5 soft."""
    return machine.reset_cause()


def supply_mv():
    """Not wired on these boards."""
    return 0


def _reader(adc):
    """The raw counts of this chip are not linear; its calibrated microvolts are."""
    return lambda: min(65535, adc.read_uv() * 65535 // _SUPPLY_UV)


def _inputs(gpios):
    return [Pin(gpio, Pin.IN, Pin.PULL_UP) for gpio in gpios]

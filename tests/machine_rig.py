"""A pump with a unit on its bus that measures it, for the pipeline of a site file."""

from pathlib import Path

UNIT = """
model = "pump-io"
title = "six numbers of a pump"
source = "made up for the tests"
verified = false
line = "115200 8N1"
address = 1
address_base = 0
poll_s = 1.0

[point]
flow = { area = "holding", register = 0, type = "f32", kind = "flow", unit = "L/min" }
pressure = { area = "holding", register = 2, type = "f32", kind = "pressure", unit = "bar" }
current = { area = "holding", register = 4, type = "f32", kind = "current", unit = "A" }
voltage = { area = "holding", register = 6, type = "f32", kind = "voltage", unit = "V" }
drive_end = { area = "holding", register = 8, type = "f32", kind = "acceleration", unit = "g" }
far_end = { area = "holding", register = 10, type = "f32", kind = "vibration", unit = "mm/s" }
motor = { area = "holding", register = 12, type = "f32", kind = "temperature", unit = "Cel" }

[[golden]]
kind = "computed"
source = "by hand"
holding = { 0 = 0x41F0, 1 = 0 }
values = { flow = 0.0005 }
"""

POINTS = ("drive_end", "far_end", "current", "pressure", "voltage", "flow")
"""In the order of SKAB's channels, as models.bench_skab.KINDS has them."""


def site(folder: Path, *, condition: str = "model:pump on pump-1 > 0.5 for 10 s", machine: str = "") -> str:
    """The tables of a site file, whose device file is written beside it."""
    (folder / "pump-io.toml").write_text(UNIT)
    sensors = "\n".join(f'sensor."pump-1/{point}" = {{ from = "io:{point}" }}' for point in (*POINTS, "motor"))
    table = machine or (
        'flow = ["pump-1/flow"], pressure = ["pump-1/pressure"], current = ["pump-1/current"], '
        'voltage = ["pump-1/voltage"], vibration = ["pump-1/drive_end", "pump-1/far_end"]'
    )
    return f"""
bus.b1 = {{ kind = "modbus", port = "/dev/ttyS9", line = "115200 8N1" }}
device.io = {{ bus = "b1", address = 1, model = "file:{folder}/pump-io.toml" }}
{sensors}
machine.pump-1 = {{ {table} }}
alarm.pump = {{ name = "循环泵", severity = "high", any = ["{condition}"] }}
"""

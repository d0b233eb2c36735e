"""Device files: each decodes its golden dumps to what the source says, and a slip in the table does not pass."""

import json
import math
import subprocess
import sys
import tomllib
from pathlib import Path

import jsonschema
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers import device_file, registers
from drivers.device_file import DeviceFile, DeviceFileError, Point
from drivers.reading import FAULT, GOOD
from gateway import check_device

ROOT = Path(__file__).parent.parent
MODELS = device_file.models()
FILES = {model: device_file.load(path) for model, path in MODELS.items()}


def changed(device: DeviceFile, name: str, **change: object) -> DeviceFile:
    point = msgspec.structs.replace(device.point[name], **change)
    return msgspec.structs.replace(device, point=device.point | {name: point})


def proved(device: DeviceFile) -> list[str]:
    """Points whose value a golden states and that are not nought."""
    return [name for golden in device.golden for name, value in golden.values.items() if value not in (False, 0.0)]


@pytest.mark.parametrize("model", MODELS)
def test_a_device_file_decodes_its_goldens_to_what_the_source_says(model: str) -> None:
    assert registers.golden_mistakes(FILES[model]) == []
    assert proved(FILES[model])


@pytest.mark.parametrize(("model", "name"), [(m, n) for m, d in FILES.items() for n in sorted(set(proved(d)))])
def test_an_address_off_by_one_does_not_pass(model: str, name: str) -> None:
    device = FILES[model]
    for step in (-1, 1):
        register = max(device.point[name].register + step, device.address_base)
        if register == device.point[name].register:
            continue
        assert registers.golden_mistakes(changed(device, name, register=register))


@pytest.mark.parametrize(
    ("model", "name"),
    [(m, n) for m, d in FILES.items() for n in sorted(set(proved(d))) if registers.WORDS[d.point[n].type] > 1],
)
def test_a_wrong_word_order_does_not_pass(model: str, name: str) -> None:
    device = FILES[model]
    other = "high-first" if device.point[name].word_order == "low-first" else "low-first"
    assert registers.golden_mistakes(changed(device, name, word_order=other))


def test_the_public_dump_of_a_tuf_2000m_decodes_as_its_source_says() -> None:
    values = FILES["tuf-2000m"].golden[0].values
    assert (values["energy_negative"], values["temperature"], values["quality"]) == (-56.0, 7.1012, 38.0)
    assert FILES["tuf-2000m"].golden[0].holding["92"] == 806  # which one published note takes for a percentage


def test_a_wrong_byte_order_does_not_pass() -> None:
    assert registers.golden_mistakes(changed(FILES["xintai-water-meter"], "flow", byte_order="big"))


def test_a_meter_whose_valve_can_be_written_offers_no_output() -> None:
    assert FILES["xintai-water-meter"].outputs == []
    assert FILES["generic-8di-8do"].outputs == [f"do{i}" for i in range(1, 9)]


@pytest.mark.parametrize(
    ("current_ma", "quality"),
    [(4.0, GOOD), (3.8, GOOD), (20.5, GOOD), (3.7, "range"), (20.8, "range"), (3.5, FAULT), (21.1, FAULT), (0, FAULT)],
)
def test_a_current_loop_is_judged_by_namur_ne_43(current_ma: float, quality: str) -> None:
    device = FILES["waveshare-ai-8ch"]
    value, found = registers.decode(device, device.point["ai1"], {("input", 0): round(current_ma * 1000)})
    assert (value, found) == (pytest.approx(current_ma / 1000), quality)


@pytest.mark.parametrize(
    ("model", "name", "words"),
    [
        ("qdy30a", "pressure", {2: 1, 3: 2, 4: 0x7FFF}),
        ("qdy30a", "pressure", {2: 99, 3: 2, 4: 100}),
        ("qdy30a", "pressure", {2: 1, 3: 200, 4: 100}),
        ("waveshare-ai-8ch", "ai1", {0: 0xFFFF}),
        ("xintai-water-meter", "flow", {4: 0x0000, 5: 0xC07F}),  # NaN, lowest byte first
        ("xintai-water-meter", "pipe", {6: 0x0012}),
        ("wld-521-r1", "temp1", {154: 85_000 & 0xFFFF, 155: 85_000 >> 16}),
    ],
)
def test_what_a_device_says_when_it_has_no_value_is_a_fault(model: str, name: str, words: dict[int, int]) -> None:
    device = FILES[model]
    point = device.point[name]
    assert registers.decode(device, point, {(point.area, at): word for at, word in words.items()})[1] == FAULT


def test_neighbours_are_read_together_and_no_gap_is_crossed_that_the_file_does_not_bridge() -> None:
    device = FILES["xintai-water-meter"]
    assert [batch[:3] for batch in registers.batches(device, device.point.values())] == [
        ("holding", 0, 7), ("holding", 9, 4), ("holding", 27, 1),
    ]  # fmt: skip
    bridged = msgspec.structs.replace(device, bridge=2)
    assert registers.batches(bridged, device.point.values())[0][:3] == ("holding", 0, 13)


@pytest.mark.parametrize("model", MODELS)
@given(data=st.data())
def test_decoding_survives_any_registers(model: str, data: st.DataObject) -> None:
    device = FILES[model]
    point: Point = data.draw(st.sampled_from(list(device.point.values())))
    words = st.integers(0, 1 if point.type == "bool" else 0xFFFF)
    needed = [point, *(device.point[n] for n in (point.plus, point.decimals, point.unit_from) if n)]
    image = {
        (p.area, registers.wire(device, p) + i): data.draw(words)
        for p in needed
        for i in range(registers.WORDS[p.type])
    }
    value, quality = registers.decode(device, point, image)
    assert quality in (GOOD, FAULT, registers.RANGE)
    if isinstance(value, float) and quality == GOOD:
        assert math.isfinite(value)


@given(data=st.binary(max_size=300), count=st.integers(1, 125))
def test_a_batch_takes_its_own_length_and_refuses_every_other(data: bytes, count: int) -> None:
    batch = registers.Batch("holding", 0, count, ())
    if len(data) == count * 2:
        assert len(batch.image(data)) == count
    else:
        with pytest.raises(ValueError, match="expected"):
            batch.image(data)


@pytest.mark.parametrize(("model", "name"), [(m, n) for m, d in FILES.items() for n in d.point])
def test_what_is_encoded_decodes_again(model: str, name: str) -> None:
    device = FILES[model]
    point = device.point[name]
    words = registers.encode(point, 1.0)
    image = {(point.area, registers.wire(device, point) + i): word for i, word in enumerate(words)}
    assert registers.decode_raw(device, msgspec.structs.replace(point, mask=None), image) == pytest.approx(1.0)


GOOD_FILE = MODELS["tuf-2000m"].read_text()


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        ('area = "holding", register = 1,', 'area = "holdings", register = 1,', "point.flow.area: found 'holdings'"),
        ("register = 1,", "register = 70000,", "point.flow.register: found 70000"),
        ("register = 1,", "register = 0,", "point.flow: found register 0, expected 1 or more"),
        ("register = 1,", "register = 2,", "golden[3].values.flow: found"),
        ('kind = "flow", unit = "m3/h"', 'kind = "flow", unit = "m3"', 'point.flow: found unit "m3", expected a unit'),
        ('kind = "flow"', 'kind = "flo"', 'point.flow: found kind "flo", expected one of'),
        ('plus = "total_fraction"', 'plus = "fraction"', "found plus = 'fraction', expected a point of this file"),
        ("mask = 0x00FF", "msk = 0x00FF", "point.quality: found a table, object contains unknown field `msk`"),
        ('point = "flow_unit"', 'point = "flowunit"', "setting.flow_unit.point: found 'flowunit'"),
        ("address_base = 1", "address_base = 2", "address_base: found 2"),
        ("[[golden]]", "[golden]", "found no TOML text"),
        ('source = "Maker', 'from = "Maker', "the file: found a table, object contains unknown field `from`"),
    ],
)
def test_a_mistake_is_named_with_what_was_expected(before: str, after: str, said: str, tmp_path: Path) -> None:
    path = tmp_path / "meter.toml"
    path.write_text(GOOD_FILE.replace(before, after, 1))
    mistakes, _ = check_device.look(path)
    assert any(said in mistake for mistake in mistakes), mistakes


def test_one_run_names_a_mistake_in_each_table(tmp_path: Path) -> None:
    path = tmp_path / "meter.toml"
    path.write_text(GOOD_FILE.replace("register = 5,", "register = -5,").replace('"i32"', '"int"'))
    assert len(check_device.look(path)[0]) >= 4


@given(st.binary(max_size=400))
def test_any_bytes_are_a_device_file_or_a_named_mistake(data: bytes) -> None:
    with pytest.raises(DeviceFileError):
        device_file.parse(data, "x.toml")


def test_the_schema_on_the_shelf_is_the_one_of_the_code_and_takes_our_files() -> None:
    shelf = (ROOT / "docs/device-file.schema.json").read_text()
    assert shelf == check_device.schema(), "linli check-device --schema > docs/device-file.schema.json"
    for path in MODELS.values():
        jsonschema.validate(tomllib.loads(path.read_text()), json.loads(shelf))


def test_the_command_checks_the_shipped_files_and_says_what_is_verified() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "gateway", "check-device"], cwd=ROOT, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count(": OK, ") == len(MODELS)
    assert "TUF-2000M, verified" in done.stdout

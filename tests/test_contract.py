"""The contract for machines: what is checked in is what is generated, and what the gateway sends keeps it."""

import ast
import copy
import json
import re
from collections.abc import Iterator
from pathlib import Path

import jsonschema
import pytest
from jsonschema import Draft202012Validator

from drivers.ticket_words import EVENTS
from gateway import cli
from gateway.build import _meta
from gateway.config import load
from gateway.contract import PACK_BYTES_MAX, STATE_BYTES_MAX, STREAMS, dictionary
from gateway.contract_catalogue import RECORD_TYPES
from gateway.contract_command import files
from gateway.contract_commands import CLASSES
from gateway.contract_schema import QOS, TOPICS, asyncapi, schemas
from gateway.signing import parse_public_key, verify
from simulator.world import TOPICS as OURS

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs/contract.md").read_text()
STRICT = {name: Draft202012Validator(schema) for name, schema in schemas(strict=True).items()}
OPEN = {name: Draft202012Validator(schema) for name, schema in schemas().items()}
EXAMPLES = [(name, json.loads(text)) for name, text in re.findall(r"^```json ([a-z-]+)\n(.*?)^```", PAGE, re.M | re.S)]


@pytest.mark.parametrize(
    "site",
    [*sorted((ROOT / "simulator/sites").glob("*.toml")), ROOT / "tests/bad_sites/good.toml"],
    ids=lambda path: path.name,
)
def test_the_dictionary_of_every_site_file_here_keeps_the_contract(site: Path) -> None:
    STRICT["meta"].validate(json.loads(dictionary(_meta(load(site)))))


# -- the catalogue -----------------------------------------------------------------------------------------------------


def written_types() -> Iterator[str]:
    """Every type that the code writes as a word: the first argument of a Record, the second of an Event."""
    for path in sorted([*(ROOT / "gateway").glob("*.py"), *(ROOT / "drivers").glob("*.py")]):
        for node in ast.walk(ast.parse(path.read_text())):
            place = {"Record": 0, "Event": 1}.get(ast.unparse(node.func)) if isinstance(node, ast.Call) else None
            if place is not None:
                words = [part.value for part in ast.walk(node.args[place]) if isinstance(part, ast.Constant)]
                yield from (word for word in words if isinstance(word, str))


def test_every_type_that_the_code_writes_is_in_the_catalogue() -> None:
    known = {name for by_type in RECORD_TYPES.values() for name in by_type}
    assert known == {*written_types(), *EVENTS.values(), "ticket.reprinted"}


# -- what is checked in ------------------------------------------------------------------------------------------------


def test_what_is_checked_in_is_what_is_generated(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["contract", "--check", "--out", str(ROOT / "docs/contract")]) == 0, capsys.readouterr().out


def test_a_changed_missing_or_strange_file_is_found(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["contract", "--out", str(tmp_path)]) == 0
    (tmp_path / "asyncapi.json").write_text("{}")
    (tmp_path / "schemas/ack.json").unlink()
    (tmp_path / "schemas/more.json").write_text("{}")
    capsys.readouterr()
    assert cli.main(["contract", "--check", "--out", str(tmp_path)]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert [line.partition(";")[0].partition(": ")[2] for line in lines] == ["is missing", "differs", "is none of ours"]


def test_the_command_prints_the_document_and_says_when_there_is_no_folder(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["contract"]) == 0
    assert json.loads(capsys.readouterr().out) == asyncapi()
    assert cli.main(["contract", "--check", "--out", str(tmp_path / "none")]) == 2
    assert "expected a folder" in capsys.readouterr().err


@pytest.mark.parametrize("strict", [True, False])
def test_every_schema_is_one_and_refers_to_nothing_outside(strict: bool) -> None:
    for schema in schemas(strict=strict).values():
        Draft202012Validator.check_schema(schema)
        assert set(re.findall(r'"\$ref": "([^"]+/)', json.dumps(schema))) <= {"#/$defs/"}


def test_the_document_names_every_topic_with_its_delivery_and_no_dangling_reference() -> None:
    document = asyncapi()
    addresses = {channel["address"]: key for key, channel in document["channels"].items()}
    assert set(addresses) == {f"{{root}}/v1/{{gateway}}/{topic.name}" for topic in TOPICS}
    real = [OURS.status, OURS.meta, OURS.state, OURS.ack, OURS.result, *map(OURS.up, STREAMS), *map(OURS.down, CLASSES)]
    filled = {address.replace("{root}", "linli").replace("{gateway}", "night") for address in addresses}
    assert filled == set(real)
    for topic in TOPICS:
        operation = document["operations"][topic.name.replace("/", "-")]
        assert operation["bindings"]["mqtt"]["qos"] == QOS == 1
        assert operation["bindings"]["mqtt"]["retain"] is (topic.name in ("status", "meta", "state"))
        assert operation["action"] == ("receive" if topic.name.startswith("down/") else "send")
    for reference in re.findall(r'"\$ref": "#/([^"]+)"', json.dumps(document)):
        at = document
        for step in reference.split("/"):
            at = at[step]


def test_the_schemas_mean_the_same_to_a_reader_of_draft_07() -> None:
    """AsyncAPI reads its schemas so."""
    words = {key for text in files().values() for key in re.findall(r'"(\w+)":', text)}
    assert not words & {"prefixItems", "unevaluatedProperties", "unevaluatedItems", "dependentRequired", "$dynamicRef"}
    for name, example in EXAMPLES:
        jsonschema.Draft7Validator(schemas()[name] | {"$schema": "http://json-schema.org/draft-07/schema#"}).validate(
            example
        )


# -- the page ----------------------------------------------------------------------------------------------------------


def test_every_example_of_the_page_keeps_the_strict_contract_and_none_is_missing() -> None:
    for name, example in EXAMPLES:
        STRICT[name].validate(example)
    assert {name for name, _ in EXAMPLES} == set(STRICT)
    assert len(EXAMPLES) == PAGE.count("```json")


def test_the_command_on_the_page_is_signed_by_the_key_on_the_page() -> None:
    [key] = re.findall(r"^    (RW\S+)$", PAGE, re.M)
    command = example("command")
    assert (
        verify(command["body"].encode(), command["sig"], [parse_public_key(key)]).comment == "by the city's dispatcher"
    )
    assert json.loads(command["body"]) == example("command-body")


def test_the_page_names_every_topic_type_and_size() -> None:
    for topic in TOPICS:
        retained = "1, retained" if topic.retain else "1"
        assert re.search(rf"^\| `{topic.name}` \| {retained} \|", PAGE, re.M), topic.name
    for by_type in RECORD_TYPES.values():
        for name in by_type:
            assert f"`linli.{name}.v1`" in PAGE, name
    assert f"{PACK_BYTES_MAX:,} B" in PAGE and f"{STATE_BYTES_MAX:,} B" in PAGE


# -- what does not keep it ---------------------------------------------------------------------------------------------

BAD = [
    ("pack-readings", ["n"], 0),
    ("pack-readings", ["epoch"], "9F3C2A71"),
    ("pack-readings", ["stream"], "events"),
    ("pack-readings", ["clock"], "gps"),
    ("pack-readings", ["clock"], "unsure"),  # and yet it has a bt
    ("pack-readings", ["records"], []),
    ("pack-readings", ["records", 0, "vb"], True),  # two values
    ("pack-readings", ["records", 0, "t"], 3.5),
    ("pack-readings", ["records", 0, "bt"], 86_400.0),  # 1970
    ("pack-readings", ["records", 0, "n"], "/basement"),
    ("pack-readings", ["records", 0, "src"], "n1/3"),
    ("pack-events", ["records", 0, "time"], "2027-01-15 09:23:20"),
    ("pack-events", ["records", 0, "data"], {}),
    ("pack-events", ["records", 0, "specversion"], "0.3"),
    ("pack-alarms", ["records", 0, "data", "state"], "ringing"),
    ("pack-alarms", ["records", 0, "data", "cause"], {}),
    ("status", ["session"], "65537"),
    ("meta", ["gateway"], "Demo"),
    ("state", ["outputs", "valve"], "open"),
    ("ack", ["streams", "readings", "also"], [[88_000]]),
    ("ack", ["streams", "readings", "upto"], -1),
    ("command", ["body"], {"do": "acknowledge"}),
    ("command-body", ["args"], {"alarm": 3}),
    ("command-body", ["args", "hours"], 3),
    ("command-body", ["do"], "shelve"),  # for how long?
    ("command-body", ["request_id"], "short"),
    ("command-body", ["request_id"], "2026-11-26-0007\n"),
    ("result", ["status"], "perhaps"),
]


def example(name: str) -> dict:
    return copy.deepcopy(next(body for found, body in EXAMPLES if found == name))


@pytest.mark.parametrize(("name", "path", "value"), BAD)
def test_a_wrong_payload_is_refused_by_consumers_too(name: str, path: list, value: object) -> None:
    body = at = example(name)
    OPEN[name].validate(body)
    for step in path[:-1]:
        at = at[step]
    at[path[-1]] = value
    assert not OPEN[name].is_valid(body)


@pytest.mark.parametrize("name", STRICT)
def test_a_payload_that_lacks_what_it_must_have_is_refused(name: str) -> None:
    for field in schemas()[name]["required"]:
        body = example(name)
        del body[field]
        assert not OPEN[name].is_valid(body), field


def test_an_end_and_a_name_may_be_left_out_only_where_nothing_is_done() -> None:
    body = example("command-body")
    for word in ("expires_at", "by"):
        less = {key: value for key, value in body.items() if key != word}
        assert not OPEN["command-body"].is_valid(less)
        assert OPEN["command-body"].is_valid(less | {"do": "state", "args": {}})


@pytest.mark.parametrize("name", sorted(STRICT.keys() - {"command-body"}))  # what a box does not know it does not do
def test_what_is_not_known_yet_passes_a_consumer_and_not_our_tests(name: str) -> None:
    body = example(name) | {"later": 1}
    assert OPEN[name].is_valid(body) and not STRICT[name].is_valid(body)


def test_a_new_type_and_a_new_word_pass_a_consumer_and_not_our_tests() -> None:
    events, readings = example("pack-events"), example("pack-readings")
    events["records"][0] |= {"type": "linli.lift.stuck.v1", "data": {"value": 1}}
    readings["records"][0]["q"] = "drift"
    for name, body in (("pack-events", events), ("pack-readings", readings)):
        assert OPEN[name].is_valid(body) and not STRICT[name].is_valid(body)


def test_a_gap_without_numbers_is_refused_unless_nobody_numbered() -> None:
    body = example("pack-readings")
    for gap, good in (
        ({"reason": "pruned"}, False),
        ({"reason": "polled-loss"}, True),
        ({"reason": "x", "first": 1, "last": 2}, True),
    ):
        body["records"] = [{"gap": gap}]
        assert OPEN["pack-readings"].is_valid(body) is good

"""JSON Schemas (2020-12) and the AsyncAPI 3.0 document, made from contract_types.py and contract_catalogue.py.

Pure: types in, plain JSON out. Open schemas let unknown fields, types and words through, as a consumer must; strict
ones, for tests of what the gateway sends, do not. Only keywords that mean the same in draft-07 are used, because
AsyncAPI reads its schemas so.
"""

from typing import Any, NamedTuple

import msgspec

from gateway import contract_catalogue as catalogue
from gateway import contract_commands as commands
from gateway import contract_types as types
from gateway.contract import GATEWAY_PATTERN, PACK_BYTES_MAX, STATE_BYTES_MAX, STREAMS, VERSION

Schema = dict[str, Any]

DIALECT = "https://json-schema.org/draft/2020-12/schema"


class Topic(NamedTuple):
    """One topic. schema: its payload's name. direction: the gateway's, "send" or "receive"."""

    name: str
    schema: str
    retain: bool
    direction: str
    summary: str


TOPICS = (
    Topic("status", "status", True, "send", "Online or offline, and the heads; also the will."),
    Topic("meta", "meta", True, "send", "The dictionary: what every name in the packs means."),
    Topic("state", "state", True, "send", f"Latest values and standing alarms, at most {STATE_BYTES_MAX:,} B."),
    *(Topic(f"up/{s}", f"pack-{s}", False, "send", f"Packs of the stream {s}, gzip or plain.") for s in STREAMS),
    Topic("down/ack", "ack", False, "receive", "What the city's ledger holds, lacks and refuses."),
    Topic("down/read", "command", False, "receive", "A command that asks; it changes nothing."),
    Topic("down/operate", "command", False, "receive", "A signed command that does something on the spot."),
    Topic("result", "result", False, "send", f"What became of a command, at most {commands.RESULT_BYTES_MAX:,} B."),
)
QOS = 1

_SINGLE: dict[str, type[msgspec.Struct]] = {
    "status": types.Status,
    "meta": types.Dictionary,
    "state": types.State,
    "ack": types.Ack,
    "command": commands.Envelope,
    "command-body": commands.Body,
    "result": commands.Result,
}
INSIDE = ("command-body",)  # what is no topic's payload, but stands in one as a text
_ARGS = {kind: None for by_verb in commands.ARGS.values() for kind in by_verb.values()}
_RECORDS = (types.Gap, types.Began, types.Senml, types.Event, types.Pack)
_DATA = {data: None for by_type in catalogue.RECORD_TYPES.values() for data in by_type.values()}  # an ordered set
_OPEN_TEXT = {data.__name__ for data in catalogue.MAY_SAY_MORE}


def schemas(*, strict: bool = False) -> dict[str, Schema]:
    """{name: stand-alone JSON Schema}, for each topic's payload, and what stands in one."""
    parts = components(strict=strict)
    found = {}
    for name in dict.fromkeys([*(topic.schema for topic in TOPICS), *INSIDE]):
        needed = _needed(name, parts)
        own = _moved(needed.pop(name), "#/$defs/")
        shared = {"$defs": _moved(needed, "#/$defs/")} if needed else {}
        found[name] = {"$schema": DIALECT, "$id": f"urn:linli:v{VERSION}:{name}"} | own | shared
    return found


def components(*, strict: bool = False) -> dict[str, Schema]:
    """Every schema by name; they refer to each other as `#/components/schemas/<name>`."""
    wanted = [*_SINGLE.values(), *_RECORDS, *_DATA, *_ARGS]
    _, parts = msgspec.json.schema_components(wanted, ref_template="#/components/schemas/{name}")
    tidy = {name: _tidied(part, strict=strict) for name, part in parts.items()}
    pack, event = tidy.pop("Pack"), tidy.pop("Event")
    tidy["Senml"]["oneOf"] = [{"required": [value]} for value in ("v", "vb", "vs")]
    tidy["Gap"] |= _gap_rule()
    for stream in STREAMS:
        if stream != "readings":
            tidy[f"{stream}-record"] = _record(stream, event, strict=strict)
        tidy[f"pack-{stream}"] = _pack(stream, pack, strict=strict)
    for name, kind in _SINGLE.items():
        tidy[name] = tidy.pop(kind.__name__)
    tidy["status"] |= {
        "if": {"properties": {"state": {"const": "online"}}, "required": ["state"]},
        "then": {"required": ["heads"]},
    }
    tidy["command-body"] |= {"allOf": _args_rules()}
    return dict(sorted(tidy.items()))


def _args_rules() -> list[Schema]:
    """Args by what is to be done; what only reads needs neither a name nor an end."""
    rules: list[Schema] = [
        {
            "if": {"properties": {"do": {"const": verb}}},
            "then": {"properties": {"args": _ref(args.__name__)}},
        }
        for by_verb in commands.ARGS.values()
        for verb, args in by_verb.items()
    ]
    reads = {"properties": {"do": {"enum": list(commands.ARGS[commands.READ])}}}
    return [*rules, {"if": reads, "else": {"required": ["expires_at", "by"]}}]


def _tidied(part: Any, *, strict: bool) -> Any:
    """msgspec's words without its defaults; strict: no further fields, and only the words known today."""
    if isinstance(part, list):
        return [_tidied(item, strict=strict) for item in part]
    if not isinstance(part, dict):
        return part
    found = {key: _tidied(value, strict=strict) for key, value in part.items() if key != "default"}
    if found.get("required") == []:
        del found["required"]
    if isinstance(found.get("description"), str):
        found["description"] = " ".join(found["description"].split())
    if strict and "x-known" in found:
        found["pattern"] = f"^({'|'.join(found.pop('x-known'))})$"
    if strict and "properties" in found and "type" in found:
        found["additionalProperties"] = {"type": "string"} if found.get("title") in _OPEN_TEXT else False
    return found


def _ref(name: str) -> Schema:
    return {"$ref": f"#/components/schemas/{name}"}


def _gap_rule() -> Schema:
    """Only what nobody numbered has no numbers."""
    return {
        "if": {"properties": {"reason": {"const": "polled-loss"}}},
        "then": {"properties": {"first": False, "last": False}},
        "else": {"required": ["first", "last"]},
    }


def _record(stream: str, event: Schema, *, strict: bool) -> Schema:
    """An event whose `data` is what the catalogue says for its type. Only strict minds a type it does not know."""
    names = {f"linli.{name}.v{VERSION}": data for name, data in catalogue.RECORD_TYPES[stream].items()}
    rules: list[Schema] = [
        {
            "if": {"properties": {"type": {"const": name}}},
            "then": {"properties": {"data": _ref(data.__name__)}},
        }
        for name, data in names.items()
    ]
    if strict:
        rules.append({"properties": {"type": {"enum": list(names)}}})
    return event | {"title": f"{stream}-record", "allOf": rules}


def _notice(name: str, title: str, *, strict: bool) -> Schema:
    closed = {"additionalProperties": False} if strict else {}
    return {"type": "object", "properties": {name: _ref(title)}, "required": [name]} | closed


def _pack(stream: str, pack: Schema, *, strict: bool) -> Schema:
    """The envelope with this stream's records. A record is a gap, a began, or one of the stream's own."""
    own = _ref("Senml" if stream == "readings" else f"{stream}-record")
    item = {
        "if": {"required": ["gap"]},
        "then": _notice("gap", "Gap", strict=strict),
        "else": {
            "if": {"required": ["began"]},
            "then": _notice("began", "Began", strict=strict),
            "else": own,
        },
    }
    fields = pack["properties"] | {"stream": {"const": stream}}
    fields["records"] = pack["properties"]["records"] | {"items": item}
    return pack | {"title": f"pack-{stream}", "properties": fields} | _time_rule(stream)


def _time_rule(stream: str) -> Schema:
    """No wall-clock time while the clock is unsure, and never none once it is known."""
    key = "bt" if stream == "readings" else "time"
    timed = {"anyOf": [{"required": [name]} for name in (key, "gap", "began")]}
    known = {"contains": timed} if stream == "readings" else {"items": timed}
    return {
        "if": {"properties": {"clock": {"const": "unsure"}}, "required": ["clock"]},
        "then": {"properties": {"records": {"items": {"properties": {key: False}}}}},
        "else": {"properties": {"records": known}},
    }


def _needed(name: str, parts: dict[str, Schema]) -> dict[str, Schema]:
    """A schema and all it refers to."""
    found: dict[str, Schema] = {}
    waiting = [name]
    while waiting:
        one = waiting.pop()
        if one not in found:
            found[one] = parts[one]
            waiting += _refs(parts[one])
    return {name: found.pop(name)} | dict(sorted(found.items()))


def _refs(part: Any) -> list[str]:
    if isinstance(part, dict):
        own = [part["$ref"].rpartition("/")[2]] if isinstance(part.get("$ref"), str) else []
        return own + [ref for value in part.values() for ref in _refs(value)]
    return [ref for item in part for ref in _refs(item)] if isinstance(part, list) else []


def _moved(part: Any, place: str) -> Any:
    """The same with references into `place`."""
    if isinstance(part, dict):
        found = {key: _moved(value, place) for key, value in part.items()}
        return found | ({"$ref": place + part["$ref"].rpartition("/")[2]} if "$ref" in part else {})
    return [_moved(item, place) for item in part] if isinstance(part, list) else part


# -- AsyncAPI ------------------------------------------------------------------------------------------------------


def asyncapi() -> Schema:
    """The AsyncAPI 3.0.0 document, from the gateway's view: it sends all topics but down/ack."""
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "Linli: a community centre's gateway to its city",
            "version": f"{VERSION}.0.0",
            "description": "Complete on MQTT 3.1.1: no fact lives in a property of version 5. Rules: docs/contract.md.",
            "license": {"name": "Apache-2.0"},
        },
        "defaultContentType": "application/json",
        "servers": {"city": _server()},
        "channels": {_key(topic): _channel(topic) for topic in TOPICS},
        "operations": {_key(topic): _operation(topic) for topic in TOPICS},
        "components": {
            "parameters": _parameters(),
            "messages": {topic.schema: _message(topic) for topic in TOPICS},
            "schemas": components(),
            "securitySchemes": {
                "certificate": {"type": "X509", "description": "mutual TLS; the certificate's CN is the gateway's id"}
            },
        },
    }


def _key(topic: Topic) -> str:
    return topic.name.replace("/", "-")


def _server() -> Schema:
    will = {"topic": "{root}/v1/{gateway}/status", "qos": QOS, "retain": True}
    will["message"] = "status with state offline and no heads"
    return {
        "host": "{broker}",
        "protocol": "secure-mqtt",
        "protocolVersion": "3.1.1 or 5.0",
        "variables": {"broker": {"description": "host and port of the city's broker, usually port 8883"}},
        "security": [{"$ref": "#/components/securitySchemes/certificate"}],
        "bindings": {
            "mqtt": {
                "clientId": "{gateway}",
                "cleanSession": True,
                "lastWill": will,
                "keepAlive": 50,
                "bindingVersion": "0.2.0",
            }
        },
    }


def _parameters() -> Schema:
    return {
        "root": {"description": "the tenant; may have slashes, for example linli or sh/pudong/linli"},
        "gateway": {"description": f"unique in the city, {GATEWAY_PATTERN.pattern}: client id and certificate's CN"},
    }


def _channel(topic: Topic) -> Schema:
    return {
        "address": f"{{root}}/v{VERSION}/{{gateway}}/{topic.name}",
        "summary": topic.summary,
        "messages": {topic.schema: {"$ref": f"#/components/messages/{topic.schema}"}},
        "parameters": {name: {"$ref": f"#/components/parameters/{name}"} for name in _parameters()},
    }


def _operation(topic: Topic) -> Schema:
    return {
        "action": topic.direction,
        "channel": {"$ref": f"#/channels/{_key(topic)}"},
        "messages": [{"$ref": f"#/channels/{_key(topic)}/messages/{topic.schema}"}],
        "bindings": {"mqtt": {"qos": QOS, "retain": topic.retain, "bindingVersion": "0.2.0"}},
    }


def _message(topic: Topic) -> Schema:
    packed = topic.name.startswith("up/")
    about = f" At most {PACK_BYTES_MAX:,} B as published; gzip when the first bytes are 1F 8B." if packed else ""
    return {
        "name": topic.schema,
        "contentType": "application/json",
        "summary": topic.summary + about,
        "payload": _ref(topic.schema),
    }

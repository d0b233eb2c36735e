"""The city's commands and their results: what the gateway decodes, and what contract_schema.py makes schemas from.

A command is an envelope with the command's own text in it, so that a signature is over bytes that nobody writes anew.
A misspelt word of a command is refused, never ignored: half a command is not what was meant. See docs/commands.md.
"""

from typing import Annotated, Any, Literal

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType

from gateway.contract import VERSION, ContractError, Json

READ, OPERATE = "read", "operate"
CLASSES = (READ, OPERATE)
COMMAND_BYTES_MAX = 16_384
RESULT_BYTES_MAX = 60_000
EXPIRES_MAX_S = 3600.0
SPAN_MAX_S = 3600.0  # of raw samples asked for
PACKS_MAX = 5_000  # asked for again in one command
_END = r"(?![\s\S])"  # `$` lets a line feed pass
_LOOK_INTO_MAX = 262_144  # bytes of what is too big in which its request_id is looked for
_ID = rf"^[A-Za-z0-9._-]{{8,64}}{_END}"
_N_LAST = 2**53 - 1

RequestId = Annotated[str, Meta(pattern=_ID, description="the city's own name for it; equal only when sent again")]


class Envelope(Struct, kw_only=True):
    """Topics down/read and down/operate. `sig` is over the UTF-8 bytes of the text `body`, as it stands there."""

    v: Literal[1]
    body: Annotated[str, Meta(description="the command itself: JSON (command-body), in a text")]
    sig: Annotated[str | UnsetType, Meta(description="the four lines of a .minisig file; operate needs it")] = UNSET


class Body(Struct, kw_only=True, forbid_unknown_fields=True):
    """What is to be done, once, by one box, on one connection of it, until a moment."""

    request_id: RequestId
    to: Annotated[str, Meta(description="<root>/<gateway>, as `source` of its events")]
    session: Annotated[int, Meta(ge=0, le=_N_LAST, description="as the gateway's status says it now")]
    do: str
    args: dict[str, Any] = {}
    expires_at: Annotated[
        float | UnsetType, Meta(description="UTC seconds, at most an hour from now; only read may do without")
    ] = UNSET
    by: (
        Annotated[
            str,
            Meta(pattern=rf"^[^\x00-\x1f\x7f]{{1,60}}{_END}", description="who wants it, for the record; in operate"),
        ]
        | UnsetType
    ) = UNSET


class Args(Struct, kw_only=True, forbid_unknown_fields=True):
    """None."""


class SamplesArgs(Args, kw_only=True, rename={"from_s": "from", "to_s": "to"}):
    """Raw samples of a sensor between two moments, at most an hour; they come in the stream as `<sensor>/raw`."""

    sensor: str
    from_s: Annotated[float, Meta(description="UTC seconds")]
    to_s: Annotated[float, Meta(description="UTC seconds")]


class PacksArgs(Args, kw_only=True):
    """Packs of the epoch in force again; what is gone is named in a gap `pruned`."""

    epoch: str
    stream: str
    ranges: Annotated[
        list[Annotated[list[Annotated[int, Meta(ge=1, le=_N_LAST)]], Meta(min_length=2, max_length=2)]],
        Meta(min_length=1, max_length=64, description="[first, last], both inclusive"),
    ]


class AlarmArgs(Args, kw_only=True):
    alarm: str


class ShelveArgs(AlarmArgs, kw_only=True):
    hours: Annotated[float, Meta(gt=0, le=24)]


class OutputArgs(Args, kw_only=True):
    """Hold an output for `minutes`, or let go of it ("auto")."""

    output: str
    action: Literal["close", "open", "on", "off", "auto"]
    minutes: Annotated[float, Meta(gt=0, le=1440, description="not for auto")] | UnsetType = UNSET


class ModeArgs(Args, kw_only=True):
    """Begin a mode for `minutes`, or end what is on at that place."""

    mode: Literal["test", "maintenance", "end"]
    place: Annotated[str, Meta(description="empty: the whole centre")] = ""
    minutes: Annotated[float, Meta(gt=0, le=1440, description="not for end")] | UnsetType = UNSET


class ModelArgs(Args, kw_only=True):
    """Which version of a model runs: docs/models.md. The package must be installed at the box."""

    deed: Literal["shadow", "promote", "rollback"]
    model: str
    version: Annotated[
        str, Meta(description="of shadow: which one; of promote and rollback: the one that is meant, empty for any")
    ] = ""
    after_days: Annotated[
        float, Meta(ge=0, le=90, description="of shadow alone: promote it by itself after so long; 0: never")
    ] = 0.0


ARGS: dict[str, dict[str, type[Args]]] = {
    READ: {"state": Args, "health": Args, "snapshot": Args, "samples": SamplesArgs, "packs": PacksArgs},
    OPERATE: {
        "acknowledge": AlarmArgs, "reset": AlarmArgs, "shelve": ShelveArgs, "unshelve": AlarmArgs,
        "output": OutputArgs, "mode": ModeArgs, "model": ModelArgs,
    },
}  # fmt: skip
"""{class: {what may be done: its args}}; no word stands in two classes."""

REASONS = (
    "unreadable", "too-big", "not-obeyed", "unsigned", "signature", "other-gateway", "request-id", "session",
    "clock-unsure", "expired", "unknown", "arguments", "not-possible", "busy",
)  # fmt: skip


class Result(Struct, kw_only=True, omit_defaults=True):
    """Topic result: one for each command that has a request_id. `data` is what was asked for, by `do`."""

    v: Literal[1]
    request_id: RequestId
    status: Annotated[Literal["done", "refused"], Meta(description="done: as far as `data` says")]
    boot: Annotated[int, Meta(ge=1, le=_N_LAST)]
    mono: Annotated[float, Meta(ge=0, description="seconds on that boot's clock when it was answered")]
    reason: Annotated[
        str | UnsetType, Meta(description="why it was refused", extra_json_schema={"x-known": list(REASONS)})
    ] = UNSET
    why: Annotated[str | UnsetType, Meta(description="the same for a person: found, expected, what to do")] = UNSET
    again: Annotated[bool | UnsetType, Meta(description="true: it was done or refused before; nothing new")] = UNSET
    data: dict[str, Any] | UnsetType = UNSET


class CommandDone(Struct, kw_only=True):
    """A command of the class operate was done; `by` signed with `key`, named as minisign names it."""

    value: str
    request_id: RequestId
    by: str
    key: str


class CommandRefused(Struct, kw_only=True):
    """A command was not done; value: why. At most ten a minute are told; unsaid: how many before it were not."""

    value: Annotated[str, Meta(extra_json_schema={"x-known": list(REASONS)})]
    why: str
    unsaid: Annotated[int, Meta(ge=0)]
    request_id: RequestId | UnsetType = UNSET
    do: Annotated[str | UnsetType, Meta(description="left out when it could not be read")] = UNSET
    by: Annotated[str | UnsetType, Meta(description="as it says itself; only a signature proves it")] = UNSET


class _OnlyId(Struct):
    request_id: RequestId


_envelopes = msgspec.json.Decoder(Envelope)
_bodies = msgspec.json.Decoder(Body)
_ids = msgspec.json.Decoder(_OnlyId)
_bare = msgspec.json.Decoder(dict[str, Any])


def parse_envelope(payload: bytes) -> Envelope:
    """Raises ContractError."""
    try:
        return _envelopes.decode(payload)
    except (ValueError, RecursionError) as error:  # bytes that are no UTF-8 are a ValueError alone
        raise ContractError(f"found {error}, expected {{v, body, sig}} as in docs/commands.md; correct it") from None


def parse_body(text: str) -> Body:
    """Raises ContractError."""
    try:
        return _bodies.decode(text)
    except (ValueError, RecursionError) as error:
        raise ContractError(f"found a body with {error}, expected it as in docs/commands.md; correct it") from None


def parse_args(kind: type[Args], args: dict[str, Any]) -> Args:
    """Raises ContractError."""
    try:
        return msgspec.convert(args, kind)
    except msgspec.ValidationError as error:
        raise ContractError(f"found args with {error}, expected them as in docs/commands.md; correct them") from None


def request_id_of(payload: bytes) -> str | None:
    """Whom to answer, of a payload that may be anything; None when it does not say."""
    try:
        whole = _bare.decode(payload) if len(payload) <= _LOOK_INTO_MAX else {}
        body = whole.get("body")
        return _ids.decode(body).request_id if isinstance(body, str) else None
    except (ValueError, RecursionError):
        return None


def result(request_id: str, boot: int, mono_s: float, said: Json) -> bytes:
    """said: status, and reason, why, again and data as far as there are."""
    head: Json = {"v": VERSION, "request_id": request_id, "boot": boot, "mono": round(mono_s, 3)}
    return msgspec.json.encode(head | said)


def envelope(body: str, sig: str | None) -> bytes:
    """The city's side: a command as published."""
    return msgspec.json.encode({"v": VERSION, "body": body} | ({"sig": sig} if sig else {}))

"""Whether a command of the city's is to be done: its form, class, signature, address, connection, end and args.

Sans-IO, and nothing is done in here. What passes is an `Order`, for gateway/city_desk.py; all else is a `Refusal` with
a sentence that says what to do. An operate command that was carried out is remembered, over a restart too, so that the
same one delivered again gets the same answer and is not done twice.
"""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from gateway.contract import ContractError, Json, Label, rfc3339
from gateway.contract_commands import (
    ARGS,
    COMMAND_BYTES_MAX,
    EXPIRES_MAX_S,
    OPERATE,
    Args,
    Body,
    Envelope,
    parse_args,
    parse_body,
    parse_envelope,
    request_id_of,
)
from gateway.signing import PublicKey, SignatureError, verify

REMEMBERED_MAX = 64
KEEP = "command:"
_ROW_LEN = 6


class Delivery(NamedTuple):
    """A command as it came. kind: its class, by its topic. session: the number of the connection that it came on."""

    kind: str
    payload: bytes
    session: int


class Order(NamedTuple):
    """What is to be done now. key: who signed it, as minisign names it; empty for a read. until_s: UTC seconds."""

    kind: str
    do: str
    args: Args
    request_id: str
    digest: str
    session: int
    until_s: float
    by: str
    key: str


class Refusal(NamedTuple):
    """reason: one of REASONS. request_id: None when nobody can be answered."""

    reason: str
    why: str
    request_id: str | None = None
    do: str = ""
    by: str = ""


class Again(NamedTuple):
    """It was carried out before; said: what was answered then."""

    request_id: str
    said: Json


class _Refused(Exception):
    def __init__(self, reason: str, why: str) -> None:
        super().__init__(why)
        self.reason = reason


class Commands:
    """to: "<root>/<gateway>". obeys: classes. keys: whose signatures count. label: the wall as the packs see it.

    kept: state of an earlier run. keep: (key, value) to keep.
    """

    def __init__(
        self, to: str, obeys: Sequence[str], keys: Sequence[PublicKey], label: Callable[[], Label],
        kept: Mapping[str, object], keep: Callable[[str, object], None],
    ) -> None:  # fmt: skip
        self._to = to
        self._obeys = obeys
        self._keys = keys
        self._label = label
        self._memory = Memory(kept, keep)

    def judge(self, delivery: Delivery) -> Order | Again | Refusal:
        body: Body | None = None
        try:
            envelope = self._envelope(delivery)
            key = self._signed(envelope) if delivery.kind == OPERATE else ""
            body = self._body(envelope)
            digest = hashlib.sha256(envelope.body.encode()).hexdigest()
            if delivery.kind == OPERATE and (said := self._memory.find(body.request_id, digest)):
                return Again(body.request_id, said)
            return self._order(delivery, body, digest, key)
        except _Refused as refused:
            who = body.request_id if body else request_id_of(delivery.payload)
            do, by = (body.do, str(body.by or "")) if body else ("", "")
            return Refusal(refused.reason, str(refused), who, do, by)

    def _envelope(self, delivery: Delivery) -> Envelope:
        if len(delivery.payload) > COMMAND_BYTES_MAX:
            raise _Refused(
                "too-big", f"found {len(delivery.payload)} bytes, expected at most {COMMAND_BYTES_MAX}; ask for less"
            )
        if delivery.kind not in self._obeys:
            raise _Refused(
                "not-obeyed",
                f"found a command of the class {delivery.kind}, expected {' or '.join(self._obeys) or 'none'} at this "
                "centre; add it to uplink.obey in the site file, or do it at the box",
            )
        try:
            return parse_envelope(delivery.payload)
        except ContractError as error:
            raise _Refused("unreadable", str(error)) from None

    def _signed(self, envelope: Envelope) -> str:
        """By which key. Before anything of the body is believed."""
        if not envelope.sig:
            raise _Refused(
                "unsigned",
                "found no sig, expected the body's signature by a key of uplink.keys; sign the body with minisign",
            )
        try:
            return verify(envelope.body.encode(), envelope.sig, self._keys).key.name
        except SignatureError as error:
            raise _Refused("signature", str(error)) from None

    def _body(self, envelope: Envelope) -> Body:
        try:
            return parse_body(envelope.body)
        except ContractError as error:
            raise _Refused("unreadable", str(error)) from None

    def _order(self, delivery: Delivery, body: Body, digest: str, key: str) -> Order:
        if body.to != self._to:
            raise _Refused(
                "other-gateway", f"found a command to {body.to[:80]!r}, expected {self._to!r}; send it on its own topic"
            )
        if delivery.kind == OPERATE and self._memory.has(body.request_id):
            raise _Refused(
                "request-id", f"found {body.request_id} with another body than before, expected a new request_id; "
                "a command is sent again as it was, or under a new name"
            )  # fmt: skip
        if body.session != delivery.session:
            raise _Refused(
                "session",
                f"found session {body.session}, expected {delivery.session}, the connection there is now; "
                "look at status and state, then ask anew",
            )
        until_s, now_s = self._until(delivery, body)
        args = self._args(delivery.kind, body)
        if delivery.kind == OPERATE and not self._memory.has_room(delivery.session, now_s):
            raise _Refused(
                "busy", f"found {REMEMBERED_MAX} commands that have not expired, expected fewer; send it a minute later"
            )
        return Order(
            delivery.kind, body.do, args, body.request_id, digest, delivery.session, until_s, str(body.by or ""), key
        )

    def _until(self, delivery: Delivery, body: Body) -> tuple[float, float]:
        """(when it expires, now), UTC seconds."""
        if not isinstance(body.expires_at, float):
            if delivery.kind == OPERATE:
                raise _Refused("arguments", "found no expires_at, expected UTC seconds within the hour; add it")
            return 0.0, 0.0
        label = self._label()
        if label.wall is None:
            raise _Refused(
                "clock-unsure",
                "found that this box does not know the time, expected to judge expires_at by it; "
                "wait for linli.clock.synced.v1, or do it at the box",
            )
        late_s = label.wall - body.expires_at
        if late_s >= 0:
            raise _Refused("expired", f"{_at(body.expires_at)}, expected one after {rfc3339(label.wall)}; send it anew")
        if late_s < -EXPIRES_MAX_S:
            raise _Refused(
                "expired", f"{_at(body.expires_at)}, expected one within the hour after {rfc3339(label.wall)}; "
                "a command that waits for long is not what is wanted any more"
            )  # fmt: skip
        return body.expires_at, label.wall

    def _args(self, kind: str, body: Body) -> Args:
        known = ARGS[kind]
        if body.do not in known:
            raise _Refused(
                "unknown", f"found {body.do[:60]!r} on down/{kind}, expected one of {', '.join(known)}; "
                "see docs/commands.md for the topic of each"
            )  # fmt: skip
        if kind == OPERATE and not body.by:
            raise _Refused("arguments", "found no by, expected who wants it, for the record; add it")
        try:
            return parse_args(known[body.do], body.args)
        except ContractError as error:
            raise _Refused("arguments", str(error)) from None

    def remember(self, order: Order, said: Json) -> None:
        """What was answered; to be called when it was carried out, before anything else is judged."""
        if order.kind == OPERATE:
            self._memory.add(order, said)


def _at(expires_at: float) -> str:
    if abs(expires_at) < 1e11:  # else no calendar has it
        return f"found expires_at {rfc3339(expires_at)}"
    return f"found expires_at {expires_at}"


class Memory:
    """The last answers to operate commands, a row each in a ring of rows that the store keeps.

    A row is given away only when its command could not be done again anyway: it has expired, or its connection is over.
    """

    def __init__(self, kept: Mapping[str, object], keep: Callable[[str, object], None]) -> None:
        self._keep = keep
        self._rows: dict[int, list[Any]] = {}  # slot: [number, request_id, digest, session, until_s, said]
        for key, row in kept.items():
            if key.startswith(KEEP) and isinstance(row, list) and len(row) == _ROW_LEN:
                self._rows[int(key.removeprefix(KEEP))] = row
        self._next = 1 + max((row[0] for row in self._rows.values()), default=0)

    def _find(self, request_id: str) -> list[Any] | None:
        return next((row for row in self._rows.values() if row[1] == request_id), None)

    def has(self, request_id: str) -> bool:
        return self._find(request_id) is not None

    def find(self, request_id: str, digest: str) -> Json | None:
        row = self._find(request_id)
        said: Json | None = row[5] if row and row[2] == digest else None
        return said

    def has_room(self, session: int, now_s: float) -> bool:
        oldest = self._rows.get(self._next % REMEMBERED_MAX)
        return oldest is None or oldest[3] != session or oldest[4] <= now_s

    def add(self, order: Order, said: Json) -> None:
        slot = self._next % REMEMBERED_MAX
        row = [self._next, order.request_id, order.digest, order.session, order.until_s, said]
        self._rows[slot] = row
        self._next += 1
        self._keep(f"{KEEP}{slot}", row)

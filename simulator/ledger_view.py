"""What a ledger holds, as text for a person: 中文 and English side by side."""

from datetime import UTC, datetime

import msgspec

from simulator.ledger import Ledger

EVENTS_SHOWN = 8
RANGES_SHOWN = 3
_STATES = {"online": "在线 online", "offline": "离线 offline", None: "未知 unknown"}
_HEADINGS = ("流 stream", "收到 held", "连续 upto", "最大 head", "缺失 missing", "声明放弃 gaps", "拒收 rejected")

_json = msgspec.json.Decoder().decode


def view(ledger: Ledger) -> str:
    """One block a gateway; only looks."""
    rows = ledger.rows("SELECT gateway, session, state, epoch, latest, heard FROM gateways ORDER BY gateway").fetchall()
    if not rows:
        return "账本是空的，还没有网关上报。 The ledger is empty: no gateway has reported yet."
    blocks = [_gateway(ledger, *row) for row in rows]
    counts = ", ".join(f"{name} {value}" for name, value in sorted(ledger.counts.items()) if value)
    return "\n\n".join([*blocks, f"计数 counts: {counts or '-'}"])


def _gateway(
    ledger: Ledger, gateway: str, session: int, state: str, epoch: str, latest: bytes | None, heard_s: float
) -> str:
    heading = f"网关 gateway {gateway}: {_STATES.get(state, state)}, 会话 session {session if session >= 0 else '-'}"
    lines = [f"{heading}, 最近 heard {_time(heard_s)}"]
    for each in sorted({at for where, at, _ in ledger.streams if where == gateway}, key=lambda at: at != epoch):
        lines += [f"  纪元 epoch {each}{' (当前 current)' if each == epoch else ''}", *_streams(ledger, gateway, each)]
    lines += ["  告警 alarms: " + (", ".join(_standing(latest)) or "无 none")]
    lines += ["  最近事件 last events:", *_events(ledger, gateway)]
    return "\n".join(lines)


def _streams(ledger: Ledger, gateway: str, epoch: str) -> list[str]:
    table: list[tuple[str, ...]] = [_HEADINGS]
    for (where, at, name), stream in sorted(ledger.streams.items()):
        if (where, at) != (gateway, epoch):
            continue
        numbers = (len(stream.held), stream.known.upto, stream.top, _ranges(stream.missing()))
        table.append((name, *map(str, numbers), str(stream.given_up), str(len(stream.rejects))))
    widths = [max(_width(row[i]) for row in table) for i in range(len(_HEADINGS))]
    padded = [[cell + " " * (width - _width(cell)) for cell, width in zip(row, widths, strict=True)] for row in table]
    return ["    " + "  ".join(row).rstrip() for row in padded]


def _ranges(ranges: list[tuple[int, int]]) -> str:
    if not ranges:
        return "0"
    shown = " ".join(f"{first}-{last}" if first < last else str(first) for first, last in ranges[:RANGES_SHOWN])
    more = " …" if len(ranges) > RANGES_SHOWN else ""
    return f"{sum(last - first + 1 for first, last in ranges)} ({shown}{more})"


def _width(text: str) -> int:
    """Columns on a terminal: Chinese characters take two."""
    return sum(2 if ord(letter) > 0x2E80 else 1 for letter in text)


def _standing(latest: bytes | None) -> list[str]:
    """Alarms of the gateway's `state` topic, whatever shape a later contract gives them."""
    try:
        alarms = _json(latest or b"{}").get("alarms", {})
    except (msgspec.MsgspecError, AttributeError):
        return ["? (state 无法读取 unreadable)"]
    if isinstance(alarms, dict):
        return [f"{name} {_word(each)}" for name, each in alarms.items()]
    return [_word(each) for each in alarms] if isinstance(alarms, list) else [str(alarms)]


def _word(alarm: object) -> str:
    if isinstance(alarm, dict):
        return " ".join(str(alarm[key]) for key in ("alarm_id", "name", "severity", "state") if key in alarm)
    return str(alarm)


def _events(ledger: Ledger, gateway: str) -> list[str]:
    query = "SELECT body FROM packs WHERE gateway = ? AND stream = 'events' ORDER BY rowid DESC LIMIT ?"
    found: list[str] = []
    for (body,) in ledger.rows(query, gateway, EVENTS_SHOWN):
        found += [_event(record) for record in reversed(_json(body)["records"]) if record.get("type")]
    return found[:EVENTS_SHOWN] or ["    无 none"]


def _event(record: dict[str, object]) -> str:
    data = record.get("data")
    value = data.get("value") if isinstance(data, dict) else None
    return f"    {record.get('time', '?')}  {record['type']}  {record.get('subject', '-')}  {value}"


def _time(wall_s: float) -> str:
    return datetime.fromtimestamp(wall_s, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")

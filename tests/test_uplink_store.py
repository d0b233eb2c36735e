"""The uplink over a store that stalls, breaks, is lost or restored."""

import json
import random
import shutil
import sqlite3
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import Mosquitto
from scripted_broker import ScriptedBroker
from uplink_rig import TOPICS, Ledgers, MakeBox, Watcher, ack, names, unzipped, wait

from gateway import link, uplink
from gateway.pending import Work
from gateway.schema import pack_id
from gateway.uplink import Identity

pytest_plugins = ["uplink_rig"]


# -- what the store may do --------------------------------------------------------------------------------------------


def test_a_disk_that_stalls_for_two_seconds_only_delays_what_is_confirmed(
    broker: ScriptedBroker, make_box: MakeBox
) -> None:
    box = make_box(broker.url).start()
    box.put(10)
    wait(lambda: len(set(names(broker.published))) == 11, "the packs")
    busy = sqlite3.connect(box.store.path, isolation_level=None)
    busy.execute("BEGIN IMMEDIATE")  # nobody else can write now
    broker.tell(TOPICS.ack, ack(box.store.epoch, events=11))
    box.put(1)
    wait(lambda: box.uplink.state.acked.get("events") == 11, "the ack is heard meanwhile")
    time.sleep(2)
    assert 12 not in names(broker.published) and box.uplink.state.connected
    busy.execute("ROLLBACK")
    busy.close()
    wait(lambda: 12 in names(broker.published), "what was put meanwhile")
    broker.tell(TOPICS.ack, ack(box.store.epoch, events=12))
    box.put(1)
    wait(lambda: box.uplink.state.acked["events"] == 12, "the next word")
    box.close()
    assert box.storage.fault is None
    rows = sqlite3.connect(box.store.path).execute("SELECT max(acked) FROM streams").fetchone()
    assert rows == (12,), "and all of it is in the database"


@pytest.mark.usefixtures("hurried")
def test_a_renewed_database_makes_a_new_connection_and_what_waited_in_the_old_one_arrives(
    mosquitto: Mosquitto, make_box: MakeBox, city: Ledgers, watch: Callable[[Mosquitto], Watcher]
) -> None:
    watcher = watch(mosquitto)
    box = make_box(mosquitto.url, resend_s=0.5).start()
    box.put(20)
    wait(lambda: len(watcher.all(TOPICS.up("events"))) >= 21, "the packs, which nobody confirms")
    old, session = box.store.epoch, watcher.last(TOPICS.status)["session"]

    def renewed() -> bool:
        box.storage.put(uplink.Broken(0, "said by a test"))  # once is not believed, because the file is whole
        return watcher.last(TOPICS.status).get("epoch") not in (None, old)

    wait(renewed, "the new epoch in the status")
    status = watcher.last(TOPICS.status)
    assert status["state"] == "online" and status["session"] > session
    assert "offline" not in [body["state"] for body in watcher.all(TOPICS.status)], "it was never away"
    city.at(mosquitto.url)
    box.put(5)
    new = box.store.epoch
    wait(lambda: city.held(old) == set(range(1, 22)) and len(city.held(new)) == 6, "both epochs at the city")
    wait(lambda: box.uplink.state.acked.get("events") == 6, "the city's word for the new one")
    assert "set aside" in box.trouble or box.trouble == ""


@pytest.mark.usefixtures("hurried")
def test_a_page_that_only_the_uplink_reads_makes_the_storage_thread_renew_the_database(
    broker: ScriptedBroker, make_box: MakeBox, tmp_path: Path
) -> None:
    box = make_box(broker.url)
    box.store.commit([Work(box.drafts(300, "events", 2_000))])
    box.store._db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
    size = (tmp_path / "linli.db").stat().st_size
    with (tmp_path / "linli.db").open("r+b") as file:
        file.seek(size // 3)
        file.write(b"\xa5" * (size // 3))
    old = box.store.epoch
    box.start()
    wait(lambda: box.store.epoch != old, "a new epoch", 20)
    wait(lambda: any(json.loads(unzipped(p.payload)).get("epoch") == box.store.epoch for p in broker.published
                     if "/up/" in p.topic), "its packs")  # fmt: skip
    assert list(tmp_path.glob("linli.db.corrupt-*")) and box.storage.fault is None and box.uplink.fault is None


def test_a_pack_that_does_not_open_is_given_up_by_name_and_stops_nothing(
    mosquitto: Mosquitto, make_box: MakeBox, city: Ledgers
) -> None:
    city.at(mosquitto.url)
    box = make_box(mosquitto.url)
    box.store.commit([Work(box.drafts(30))])
    row_id = pack_id(box.store.epoch_no, "events", 9)
    box.store._db.execute("UPDATE packs SET body = x'00112233' WHERE id = ?", (row_id,))
    box.start()
    wait(lambda: box.uplink.state.acked.get("events") == 8, "what comes before it")
    box.put(1)
    wait(lambda: set(range(10, 33)) <= city.held(box.store.epoch), "what comes behind it")
    box.put(1)
    wait(lambda: box.uplink.state.acked["events"] == box.heads["events"] == 34, "the gap record closes the hole")
    assert box.uplink.state.connections == 1


def test_a_notice_that_does_not_open_is_given_up_by_name_too(
    mosquitto: Mosquitto, make_box: MakeBox, city: Ledgers
) -> None:
    city.at(mosquitto.url)
    box = make_box(mosquitto.url)
    box.store.commit([Work(box.drafts(5))])
    row_id = pack_id(box.store.epoch_no, "events", 1)
    box.store._db.execute("UPDATE packs SET body = x'00112233' WHERE id = ?", (row_id,))
    box.start()
    wait(lambda: set(range(2, 7)) <= city.held(box.store.epoch), "what comes behind it")
    box.put(1)
    wait(lambda: box.heads["events"] >= 8, "the gap record")
    box.put(1)
    wait(lambda: box.uplink.state.acked.get("events") == box.heads["events"] == 9, "it closes the hole")
    assert box.uplink.state.connections == 1


# -- the session's number ---------------------------------------------------------------------------------------------


def test_the_session_number_grows_over_restarts_lost_and_restored_databases(
    broker: ScriptedBroker, make_box: MakeBox, tmp_path: Path
) -> None:
    sessions: list[int] = []

    def once(*, cleanly: bool = True) -> None:
        before = len(broker.connects)
        box = make_box(broker.url).start()
        wait(lambda: len(broker.connects) > before and box.uplink.state.connected, "connected")
        wait(lambda: broker.published[-1].topic.startswith("linli"), "something")
        box.uplink.close(3)
        if cleanly:
            box.storage.close(3)
        statuses = [json.loads(p.payload) for p in broker.published if p.topic == TOPICS.status]
        sessions.append(statuses[-1]["session"])

    once()
    once()
    shutil.copy(tmp_path / "linli.db", tmp_path / "older.db")
    once(cleanly=False)
    for gone in tmp_path.glob("linli.db*"):
        gone.unlink()  # within the minute in which upkeep would have noted the heads
    once()
    once(cleanly=False)
    for gone in tmp_path.glob("linli.db*"):
        gone.unlink()
    shutil.copy(tmp_path / "older.db", tmp_path / "linli.db")
    once()
    (tmp_path / "linli.db").write_bytes(b"no database at all" * 1000)
    once()
    assert sessions == sorted(set(sessions)), "each higher than the one before"


def test_a_month_of_tries_does_not_reach_the_next_starts_numbers() -> None:
    """A try each 15 s for half a year, as with a SIM card that nobody paid for."""
    tries = 182 * 86_400 // 15
    assert Identity(7, 1, "", {}).session(tries) < Identity(8, 1, "", {}).session(1)
    assert Identity(2**33 - 1, 1, "", {}).session(2**20 - 1) < 2**53, "every JSON reader keeps it exactly"


@pytest.mark.usefixtures("hurried")
def test_a_hundred_connections_leave_no_descriptor_behind(broker: ScriptedBroker, make_box: MakeBox) -> None:
    box = make_box(broker.url)
    box.start()
    counts: list[int] = []
    for connection in range(1, 101):
        wait(lambda c=connection: len(broker.connects) >= c and box.uplink.state.connected, "a connection")
        counts.append(len(list(Path("/proc/self/fd").iterdir())))
        broker.cut()
        wait(lambda c=connection: len(broker.connects) > c, "the next")
    assert max(counts[50:]) <= max(counts[:50]) + 5
    assert box.uplink.state.connections == len(broker.connects)


def test_the_wait_between_tries_grows_and_starts_again_after_a_connection_that_lasted() -> None:
    class Even(random.Random):
        def uniform(self, a: float, b: float) -> float:
            return b

    backoff = link.Backoff(Even())
    assert [backoff.after(0.0) for _ in range(7)] == [0.5, 1, 2, 5, 10, 30, 30]
    assert backoff.after(20.0) == 0.5 and backoff.after(0.0, 60.0) == 60.0

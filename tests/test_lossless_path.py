"""Whatever broker, city, disk and process do: what was acknowledged arrives or is named in a gap record.

The table of these faults, with what each gap record said, stands in docs/losses.md and is written by this file.
"""

import random
import shutil
import sqlite3

import pytest

from simulator.world import World


@pytest.fixture
def world(tmp_path) -> World:
    return World(tmp_path, random.Random(7))


def settle(world: World, seconds: float = 90) -> None:
    """Everything is up again: nothing may stay behind."""
    world.deny = world.refuse = world.away = False
    world.commit()
    world.connect()
    world.run(seconds)
    world.commit()


def work(world: World, rounds: int = 20) -> None:
    for _ in range(rounds):
        world.facts(50)
        world.commit()
        world.run(0.5)


def test_everything_arrives_once_on_a_good_day(world):
    world.connect()
    work(world)
    settle(world)
    assert world.missing() == [] and world.silent_losses() == [] and world.gaps() == []
    assert world.store.acked() == world.store.heads()


def test_a_broker_that_acknowledges_and_drops_makes_nothing_look_accepted(world):
    world.connect()
    world.deny = True
    work(world)
    assert world.store.acked()["readings"] == 0 and world.missing() != []
    settle(world)
    assert world.missing() == [] and world.silent_losses() == []


def test_a_broker_that_refuses_is_tried_again(world):
    world.connect()
    world.refuse = True
    work(world, 5)
    settle(world)
    assert world.missing() == [] and world.silent_losses() == []


def test_a_broker_that_forgets_what_it_acknowledged_loses_nothing(world):
    world.connect()
    for _ in range(10):
        world.facts(50)
        world.commit()
        for _ in range(5):
            world.step()
        world.forget()
        world.disconnect()
        world.connect()
    settle(world)
    assert world.missing() == [] and world.silent_losses() == []


def test_a_broker_that_forgets_on_a_live_connection_is_noticed_by_the_ledger(world):
    world.connect()
    world.facts(200)
    world.commit()
    for _ in range(8):
        world.step()
    world.forget()
    settle(world)
    assert world.missing() == [] and world.silent_losses() == []


def test_a_ledger_restored_from_an_hour_ago_is_filled_again(world, tmp_path):
    world.connect()
    work(world, 10)
    settle(world)
    world.ledger.rows("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
    shutil.copy(tmp_path / "city.db", tmp_path / "backup.db")
    work(world, 10)
    settle(world)
    world.restore_city(tmp_path / "backup.db")
    assert world.missing() != []
    settle(world)
    assert world.missing() == [] and world.silent_losses() == []


def test_a_ledger_that_starts_from_nothing_gets_the_confirmed_week_again(world, tmp_path):
    world.connect()
    work(world, 10)
    settle(world)
    (tmp_path / "empty").mkdir()
    world.ledger.close()
    for old in tmp_path.glob("city.db*"):
        old.unlink()
    world.start_city()
    world.disconnect()
    settle(world)
    assert world.missing() == [] and world.silent_losses() == []


def test_a_corrupt_database_names_what_it_lost_and_keeps_what_opens(world, tmp_path):
    world.away = True
    for _ in range(300):
        world.facts(400)
        world.commit()
    world.store.close()
    size = (tmp_path / "linli.db").stat().st_size
    with (tmp_path / "linli.db").open("r+b") as file:
        file.seek(size // 2)
        file.write(b"\xa5" * 12_000)
    world.start_gateway()
    settle(world, 300)
    assert world.silent_losses() == []
    gaps = world.gaps()
    assert gaps and {gap["reason"] for gap in gaps} == {"corrupt"}
    assert 0 < len(world.missing()) < len(world.held()) / 10


def test_a_full_disk_gives_up_readings_first_and_says_which(tmp_path):
    world = World(tmp_path, random.Random(7), budget_mb=0.7)
    world.away = True
    for _ in range(600):
        world.facts(400)
        world.commit()
    settle(world, 300)
    assert world.silent_losses() == []
    gaps = world.gaps()
    assert gaps and {(gap["reason"], gap["stream"]) for gap in gaps} == {("disk-budget", "readings")}
    lost = sum(int(gap["records"]) for gap in gaps)
    assert lost == len(world.missing())


def test_what_was_asked_for_and_is_gone_is_told_as_pruned(world, tmp_path):
    world.connect()
    work(world, 5)
    settle(world)
    world.store._db.execute("DELETE FROM packs WHERE notice = 0")
    world.ledger.close()
    for old in tmp_path.glob("city.db*"):
        old.unlink()
    world.start_city()
    world.disconnect()
    settle(world)
    assert world.silent_losses() == []
    assert {gap["reason"] for gap in world.gaps()} == {"pruned"}


def test_an_ack_of_a_foreign_epoch_or_beyond_the_head_changes_nothing(world):
    world.connect()
    world.facts(20)
    world.commit()
    world._to_gateway.append(b'{"v":1,"epoch":"00000000","streams":{"readings":{"upto":1}}}')
    world.step()
    assert "is not ours" in world._courier.refused
    word = f'{{"v":1,"epoch":"{world.store.epoch}","streams":{{"readings":{{"upto":99}}}}}}'
    world._to_gateway.append(word.encode())
    world.step()
    assert "beyond our head" in world._courier.refused
    world.commit()
    assert world.store.acked()["readings"] == 0


def test_with_confirm_broker_the_puback_is_the_last_word(tmp_path):
    world = World(tmp_path, random.Random(3), confirm="broker")
    world.connect()
    work(world, 5)
    settle(world)
    assert world.store.acked() == world.store.heads()


@pytest.mark.parametrize("seed", range(12))
def test_no_night_loses_anything(seed, tmp_path):
    dice = random.Random(seed)
    world = World(tmp_path, dice)
    for _ in range(60):
        deed = dice.choice(("connect", "connect", "cut", "kill", "city", "forget", "deny", "refuse", "away", "back"))
        if deed == "connect":
            world.connect()
        elif deed == "cut":
            world.disconnect()
        elif deed == "kill":
            world.kill_gateway()
        elif deed == "city":
            world.kill_city()
        elif deed == "forget":
            world.forget()
        elif deed in ("deny", "refuse", "away"):
            setattr(world, deed, dice.random() < 0.5)
        else:
            world.deny = world.refuse = world.away = False
        world.facts(dice.randrange(120))
        if dice.random() < 0.8:
            world.commit(everything=dice.random() < 0.3)
        world.run(dice.random() * 2)
    settle(world)
    assert world.missing() == [] and world.silent_losses() == [] and world.gaps() == []
    assert sqlite3.connect(tmp_path / "linli.db").execute("PRAGMA quick_check").fetchone() == ("ok",)

"""Alarms and events that the city has stay for the reports when its readings go."""

from gateway.pending import Confirm
from tests.test_store import Hand, opened, packs, work


def test_confirmed_events_stay_for_the_reports_and_readings_go(tmp_path):
    hand = Hand()
    store = opened(tmp_path, hand, confirmed_days=1, event_days=3)
    store.commit([work(hand, readings=1, events=1)])
    store.commit([], [Confirm(store.epoch, upto={"events": 2, "readings": 2})])
    left = []
    for hour in range(80):
        store.upkeep()
        hand.mono += 3600
        if hour in (20, 30, 70, 79):
            left.append({stream for stream, n, *_ in packs(tmp_path) if n == 2})
    assert left == [{"events", "readings"}, {"events"}, {"events"}, set()]

"""The city's end of the wire, a process of its own, so that counting does not disturb what is timed.

Prints JSON lines: {"ready": true} once subscribed, {"alarm": occurrence, "at_s"} for each leak alarm, and the sums
{"readings", "messages", "payload_b", "first_reading_s", "last_s"} at most each 20 ms. Seconds are CLOCK_MONOTONIC's.
Readings are counted by their `"src":`, without parsing.
"""

import json
import sys
import time

from simulator.mqtt import Connection
from simulator.parcels import plain

_TELL_EVERY_S = 0.02
_AGAIN_S = 0.1


class Counter:
    def __init__(self, url: str, topic: str) -> None:
        self._url, self._topic = url, topic
        self.readings = self.messages = self.payload_b = 0
        self.first_reading_s = self.last_s = 0.0
        self._told = 0
        self._told_s = 0.0

    def run(self) -> None:
        """For ever: the broker may be away for a while, and whoever started this ends it."""
        while True:
            link = Connection(self._url, f"bench-{self._topic.rpartition('/')[2]}", self._take)
            if link.open():
                self._serve(link)
                link.close()
            time.sleep(_AGAIN_S)

    def _serve(self, link: Connection) -> None:
        asked = told = False
        while link.turn(_TELL_EVERY_S):
            if link.up and not asked:
                link.subscribe([self._topic])
                asked = True
            if link.ready and not told:
                tell(ready=True)
                told = True
            link.settle()
            self._tell_sums()

    def _take(self, topic: str, payload: bytes) -> None:
        now_s = time.monotonic()
        self.last_s = now_s
        self.messages += 1
        self.payload_b += len(payload)
        if topic.endswith("/readings"):
            self.readings += plain(payload).count(b'"src":')
            if self.readings and not self.first_reading_s:
                self.first_reading_s = now_s
            return
        for record in json.loads(plain(payload))["records"]:
            if "data" in record and record["data"]["state"] == "unacknowledged" and record["data"]["name"] == "leak":
                tell(alarm=record["data"]["occurrence"], at_s=now_s)

    def _tell_sums(self) -> None:
        now_s = time.monotonic()
        if self.messages != self._told and now_s - self._told_s >= _TELL_EVERY_S:
            self._told, self._told_s = self.messages, now_s
            tell(
                readings=self.readings, messages=self.messages, payload_b=self.payload_b,
                first_reading_s=self.first_reading_s, last_s=self.last_s,
            )  # fmt: skip


def tell(**facts: object) -> None:
    print(json.dumps(facts), flush=True)


if __name__ == "__main__":
    Counter(sys.argv[1], sys.argv[2]).run()

"""Who waits until what was said so far is on the disk: commits are counted as they go out and as they come back."""

from collections import deque
from collections.abc import Callable


class Durable:
    """Commits come back in the order in which they were handed out."""

    def __init__(self) -> None:
        self._handed = self._stored = 0
        self._waiting: deque[tuple[int, Callable[[], None]]] = deque()

    def handed(self) -> None:
        self._handed += 1

    def stored(self, commits: int) -> None:
        self._stored += commits
        while self._waiting and self._waiting[0][0] <= self._stored:
            self._waiting.popleft()[1]()

    def when(self, then: Callable[[], None]) -> None:
        """Once all that was handed out by now is back; now, when it is."""
        if self._stored >= self._handed:
            then()
        else:
            self._waiting.append((self._handed, then))

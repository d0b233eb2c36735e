"""One ticket's story, from the printer to the window: what each event makes of it.

waiting -> called -> served | no_show; cancelled from anywhere. A transfer makes it wait again, in another line; a
no-show that is called again is called. A wait ends with the first call: neither a recall nor a transfer begins another.
"""

import msgspec

from gateway.hall_clock import BootTime

WAITING, CALLED, SERVED, NO_SHOW, CANCELLED = "waiting", "called", "served", "no_show", "cancelled"
SORTS = PRIORITY, APPOINTMENT = "priority", "appointment"


class Visit(msgspec.Struct, array_like=True):
    """service: drawn for; line: the service where it waits or waited last. sort: "", "priority" or "appointment".

    issued, called: the first of each. at: when it was called to the window it is or was at last. ended: of that stay;
    inferred: known by the next call of that window alone. HallClock are None while nobody has said them.
    """

    service: str
    line: str
    sort: str = ""
    state: str = WAITING
    window: str = ""
    issued: BootTime | None = None
    called: BootTime | None = None
    at: BootTime | None = None
    serving: BootTime | None = None
    ended: BootTime | None = None
    inferred: bool = False
    rated: bool = False

    def hear(self, kind: str, moment: BootTime, window: str, to: str) -> None:
        """kind: of the event, without "ticket.". to: a service, for a transfer to one."""
        match kind:
            case "issued":
                self.issued = self.issued or moment
            case "called":
                self._call(moment, window)
            case "recalled":
                if self.state != CALLED or self.called is None:
                    self._call(moment, window)
            case "serving":
                if self.state != CALLED or self.called is None:
                    self._call(moment, window)
                self.serving = self.serving or moment
            case "transferred":
                self.state, self.line, self.window = WAITING, to or self.line, ""
                self.at = self.serving = None
            case "served" | "no_show" | "cancelled":
                self.state, self.ended, self.inferred = kind, moment, False
                self.window = window or self.window

    @property
    def is_across(self) -> bool:
        """Whether a reboot lies in it: what it took depends on what is known of the wall."""
        moments = (self.issued, self.called, self.at, self.serving, self.ended)
        return len({moment.boot for moment in moments if moment}) > 1

    def next_called(self, moment: BootTime) -> None:
        """Its window called somebody else, and nobody has said what became of it."""
        self.state, self.ended, self.inferred = SERVED, moment, True

    def _call(self, moment: BootTime, window: str) -> None:
        self.called = self.called or moment
        self.state, self.window, self.at = CALLED, window or self.window, moment
        self.serving = self.ended = None
        self.inferred = False

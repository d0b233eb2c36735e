"""The shape of what the gateway says of its queues: live in `state`, and as figures of a day.

Seconds unless said otherwise. A share is null where fewer than five are behind it. Only contract_types.py,
contract_catalogue.py and the tests import it.
"""

from typing import Annotated

from msgspec import UNSET, Meta, Struct, UnsetType

Count = Annotated[int, Meta(ge=0, le=2**53 - 1)]
Some = Annotated[float, Meta(ge=0)]
Share = Annotated[float, Meta(ge=0, le=1)]


class Durations(Struct, kw_only=True):
    """Percentiles by nearest rank; left out when n is 0."""

    n: Count
    approx: Annotated[Count, Meta(description="how many of them lie across a reboot, measured by the wall clock")]
    mean_s: Some | UnsetType = UNSET
    max_s: Some | UnsetType = UNSET
    p50_s: Some | UnsetType = UNSET
    p90_s: Some | UnsetType = UNSET


class ServiceDurations(Durations, kw_only=True):
    """From serving, else from the call (from_call of them), to served, else the window's next call (by_next_call)."""

    from_call: Count
    by_next_call: Count


class SortFigures(Struct, kw_only=True):
    issued: Count
    called: Count
    wait: Durations
    accessible: Annotated[
        Count | UnsetType, Meta(description="of the called, at an accessible window; left out where there is none")
    ] = UNSET


class WindowFigures(Struct, kw_only=True):
    """served: of this queue. per_hour: tickets per window hour."""

    served: Count
    open_s: Some
    per_hour: Some | None


class RatingFigures(Struct, kw_only=True):
    """n: grades given; not_rated: asked and none given. grades: how many of 1, 2, 3, 4, 5; bad: of 1 and 2."""

    n: Count
    not_rated: Count
    grades: Annotated[list[Count], Meta(min_length=5, max_length=5)] | None
    bad: Count | None
    days: Annotated[Count | UnsetType, Meta(description="of how many days at most; only in state")] = UNSET


class QueueFigures(Struct, kw_only=True):
    """A day of one service, or of a whole queue (no `service`): so far, or `closed`. The highest (epoch, n) holds.

    value: share of the judged (served, no-show, abandoned) that was called within within_s and served.
    """

    value: Share | None
    queue: str
    day: Annotated[str, Meta(description="local business day, unsure while nobody knew")]
    service: str | UnsetType = UNSET
    within_s: Some
    closed: Annotated[bool, Meta(description="its day is over: who never was called has given up")]
    issued: Count
    called: Count
    served: Count
    no_show: Count
    cancelled: Count
    abandoned: Annotated[Count, Meta(description="never called, or cancelled, by closing")]
    waiting: Count
    at_window: Annotated[Count, Meta(description="called, and nobody said what became of it")]
    wait: Annotated[Durations, Meta(description="first called - issued")]
    service_time: ServiceDurations
    within: Count
    judged: Count
    share: Share | None
    no_show_rate: Share | None
    abandonment: Share | None
    sorts: Annotated[dict[str, SortFigures], Meta(description="priority, appointment: where there were any")]
    windows: dict[str, WindowFigures] | UnsetType = UNSET
    ratings: RatingFigures | UnsetType = UNSET


class RatedBadly(Struct, kw_only=True):
    """A grade of 1 or 2, to be verified, put right and answered. cause: src of the rating."""

    value: Annotated[int, Meta(ge=1, le=2)]
    ticket: str | UnsetType = UNSET
    label: str | UnsetType = UNSET
    service: str | UnsetType = UNSET
    window: str | UnsetType = UNSET
    cause: str | UnsetType = UNSET


class Predicted(Struct, kw_only=True):
    """The wait of a ticket drawn now; four of five should lie from low_s to high_s."""

    wait_s: Some
    low_s: Some
    high_s: Some


class ServiceState(Struct, kw_only=True):
    waiting: Count
    longest_s: Some | None
    windows: Annotated[Count, Meta(description="open ones that serve it")]
    accessible: Annotated[
        Count | UnsetType, Meta(description="of these, accessible ones; left out where none that serves it is")
    ] = UNSET
    predicted: Predicted | None


class Outlook(Struct, kw_only=True):
    """The share within the promise that is expected of the last hour's tickets and of all who wait."""

    n: Count
    share: Share | None


class Today(Struct, kw_only=True):
    day: str
    closed: bool
    issued: Count
    called: Count
    served: Count
    no_show: Count
    abandoned: Count
    judged: Count
    share: Share | None
    wait: Durations
    sorts: Annotated[
        dict[str, SortFigures] | UnsetType, Meta(description="priority, appointment: left out where there were none")
    ] = UNSET


class QueueState(Struct, kw_only=True):
    waiting: Count
    longest_s: Annotated[Some | None, Meta(description="longest waiting now")]
    outlook: Outlook
    today: Today | None
    services: dict[str, ServiceState]
    ratings: RatingFigures

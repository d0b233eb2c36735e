"""What can happen to a ticket or at a window: the words kiosks, terminals and pads say, and the events they become."""

EVENTS: dict[str, str] = {
    **{
        word: f"ticket.{word}"
        for word in (
            "issued",
            "called",
            "recalled",
            "serving",
            "served",
            "no_show",
            "transferred",
            "cancelled",
            "rated",
        )
    },
    "window_open": "window.opened",
    "window_pause": "window.paused",
    "window_close": "window.closed",
}
"""{word: type of the Event}"""


def value_of(event: str, label: object, window: object, grade: object) -> object:
    """What stands as `value` in the event: the grade of a rating, the window of a window, else the ticket's label."""
    if event == "rated":
        return grade
    return window if event.startswith("window_") else label

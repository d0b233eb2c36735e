"""The hall with its kiosks: what people wait for, and at which windows."""

import re
from typing import Any

from gateway.site_types import Label, Minutes, Terminal, Title
from provisioning.dialogue import Dialogue, Wrong, of_type, optional
from provisioning.draft import Draft, Entry, free

QUEUE = "hall"


def ask_hall(dialogue: Dialogue, draft: Draft) -> None:
    """One queue with its services, and the windows; more queues are written by hand."""
    say = dialogue.say
    queue: Entry = {"name": dialogue.ask("hall.name", of_type(Title), say("hall.proposed"))}
    queue["within_min"] = dialogue.ask("hall.within_min", of_type(Minutes), "15")
    draft.add("queue", QUEUE, queue)

    def service(key: str) -> bool:
        label = dialogue.ask(f"{key}.label", optional(free(draft, Label, "service")))
        if label:
            title = dialogue.ask(f"{key}.name", of_type(Title), label=label)
            draft.add("service", label, {"queue": QUEUE, "name": title})
        return bool(label)

    def window(key: str) -> bool:
        label = dialogue.ask(f"{key}.label", optional(free(draft, Label, "window")))
        if label:
            draft.add("window", label, _ask_window(dialogue, draft, key, label))
        return bool(label)

    dialogue.items("service", service)
    if draft.names("service"):
        dialogue.items("window", window)


def _ask_window(dialogue: Dialogue, draft: Draft, key: str, label: str) -> Entry:
    known = draft.names("service")

    def services(text: str) -> list[str]:
        labels = [each for each in re.split(r"[,，、\s]+", text) if each]
        if not labels or any(each not in known for each in labels) or len(set(labels)) != len(labels):
            raise Wrong(services=", ".join(known))
        return labels

    entry: Entry = {"services": dialogue.ask(f"{key}.services", services, ", ".join(known), label=label)}
    entry["name"] = dialogue.ask(f"{key}.name", of_type(Title), dialogue.say("window.proposed", label=label))
    kinds = [bus["kind"] for bus in draft.tables["bus"].values()]
    terminal: Any = optional(of_type(Terminal))
    if "call-bus" in kinds:
        entry["calls"] = dialogue.ask(f"{key}.calls", terminal, label=label)
    if "rating-pad" in kinds:
        entry["rating"] = dialogue.ask(f"{key}.rating", terminal, label=label)
    return {name: value for name, value in entry.items() if value}

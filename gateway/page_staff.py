"""The staff's view: what stands, what may be done about it, and the forms to do it. It decides nothing."""

from typing import Any

from gateway.conditions import ConditionError, parse
from gateway.config import Site
from gateway.page import Html, Part, el
from gateway.page_frame import Sight, Tongue, away, local, minutes, output_title, who
from gateway.switches import Way
from gateway.words import Words

DO = "/staff/do"
MINUTES = {"output": (10, 30, 120), "test": (15, 30, 60), "maintenance": (30, 60, 240, 1440)}
_HOURS = (1, 2, 4, 8, 24)


def staff(site: Site, sight: Sight, tongue: Tongue, form: str) -> Html:
    """form: the session's token, "" for somebody who may only look."""
    if sight.found is None:
        return away(tongue, sight)
    view = _View(site, sight, tongue, form)
    return Html(view.alarms() + view.facilities() + view.outputs() + view.modes())


def fields(form: str, **values: str) -> list[Html]:
    """The hidden part of a form."""
    return [el("input", type="hidden", name=name, value=value) for name, value in {"form": form, **values}.items()]


class _View:
    def __init__(self, site: Site, sight: Sight, tongue: Tongue, form: str) -> None:
        assert sight.found is not None
        self._site, self._sight, self._found = site, sight, sight.found
        self._tongue, self._say, self._base, self._form = tongue, tongue.say, tongue.base, form

    # -- pieces of a form ---------------------------------------------------------------------------------------------

    def _button(self, label: str, key: str, of: str, /, **values: str) -> Html:
        """of: what it is about, for those who hear only the button."""
        inner = el("button", label, " ", el("span", of, class_="heard"), type="submit", id=key)
        return el("form", fields(self._form, **values), inner, method="post", action=DO)

    def _choice(self, name: str, label: str, options: dict[str, str], of: str) -> Html:
        chosen = [el("option", text, value=value) for value, text in options.items()]
        return el("label", label, " ", el("select", chosen, name=of, id=name))

    def _text(self, name: str, label: str, of: str, *, needed: bool) -> Html:
        need = {"required": ""} if needed else {}
        field = el("input", type="text", name=of, id=name, maxlength="200", autocomplete="off", **need)
        return el("label", label, " ", field)

    def _folded(self, key: str, label: str, of: str, /, *parts: Part, **values: str) -> Html:
        """A form of several fields, shut until it is wanted."""
        send = el("button", label, " ", el("span", of, class_="heard"), type="submit", id=f"{key}-go")
        inner = el("form", fields(self._form, **values), parts, send, method="post", action=DO)
        return el("details", el("summary", label, "… ", el("span", of, class_="heard"), id=f"{key}-sum"), inner, id=key)

    def _spans(self, choices: tuple[int, ...]) -> dict[str, str]:
        return {f"{each}": self._base.span(60.0 * each) for each in choices}

    def _since(self, since_s: object) -> str:
        if not isinstance(since_s, int | float) or since_s < 0:
            return self._say("since.unknown")
        clock, span = self._sight.clock(self._site, since_s), minutes(self._tongue, since_s)
        return (
            self._say("since", clock=clock, span=span)
            if clock and since_s < 86_400
            else self._say("since.span", span=span)
        )

    # -- alarms -------------------------------------------------------------------------------------------------------

    def alarms(self) -> Html:
        rows, say = self._found["told"], self._say
        waiting = sum(not row["acknowledged"] for row in rows)
        count = say("alarms.count", n=len(rows), waiting=waiting) if rows else say("alarms.none")
        flood = self._found.get("flood")
        parts = [
            self._trouble(),
            el("p", self._base("alarm.flood", alarms=flood["alarms"], first=flood["first"])) if flood else None,
            el("p", count, class_="bad" if waiting else "good"),
            [self._alarm(row) for row in rows],
        ]
        return el("section", el("h2", say("alarms")), parts, id="alarms", data_said=count)

    def _trouble(self) -> Html | None:
        """The city away is no alarm: everything here goes on."""
        told = [self._say("city.away")] if not self._found["connected"] else []
        told += [self._base.fault(text)[0] for text in self._found["troubles"]]
        return el("ul", [el("li", each) for each in told], class_="notice") if told else None

    def _alarm(self, row: dict[str, Any]) -> Html:
        base, name, title = self._base, str(row["alarm"]), str(row["name"])
        chatter = row["chatter"]
        words = [base(f"alarm.state.{row['state']}"), self._since(row["since_s"])]
        words += [base("alarm.first")] if row["first_out"] else []
        words += (
            [base("alarm.chatter", times=chatter["times"], within=base.span(chatter["within_s"]))] if chatter else []
        )
        words += [base("alarm.escalation", step=row["escalation"])] if row["escalation"] else []
        if row["state"] == "shelved":
            left_s = row.get("shelved_left_s")
            left = self._say("since.unknown") if left_s is None else minutes(self._tongue, max(0.0, left_s))
            words.append(base("alarm.shelf", by=who(self._tongue, row["by"]), left=left))
        marks = [el("span", base(f"journal.{mark}"), class_="tag") for mark in row["marks"]]
        tag = el("span", base(f"alarm.severity.{row['severity']}"), class_="tag")
        cause = cause_words(self._site, row["cause"], self._tongue)
        there = base("alarm.active") if row["active"] else self._say("cause.gone")
        return el(
            "article", el("h3", title, " ", tag, " ", marks), el("p", base("alarm.comma").join(words)),
            el("p", self._say("cause", cause=cause or name, there=there)), self._deeds(row, name, title),
            class_=f"alarm {row['severity']}{'' if row['acknowledged'] else ' waiting'}", id=f"alarm-{name}",
        )  # fmt: skip

    def _deeds(self, row: dict[str, Any], name: str, title: str) -> Html | None:
        may, say = row["may"] if self._form else [], self._say
        deeds = [
            self._button(say(f"do.{deed}"), f"{deed}-{name}", title, deed=deed, name=name)
            for deed in ("acknowledge", "reset", "unshelve")
            if deed in may
        ]
        if "shelve" in may:
            hours = {f"{h}": self._base.span(3600.0 * h) for h in _HOURS if h <= row["shelve_h"]} or {
                f"{row['shelve_h']:g}": self._base.span(3600.0 * row["shelve_h"])
            }
            choice = self._choice(f"hours-{name}", say("for"), hours, "hours")
            deeds.append(self._folded(f"shelve-{name}", say("do.shelve"), title, choice, deed="shelve", name=name))
        return el("div", deeds, class_="deeds") if deeds else None

    # -- facilities ---------------------------------------------------------------------------------------------------

    def facilities(self) -> Html:
        of_site = self._site.facilities
        rows = [self._facility(n, of_site[n].title, f) for n, f in self._found["facilities"].items() if n in of_site]
        none = el("p", self._tongue.log("facility.none"), class_="soft") if not rows else None
        return el("section", el("h2", self._say("facilities")), none, rows, id="facilities")

    def _facility(self, name: str, title: str, stands: dict[str, Any]) -> Html:
        log, say = self._tongue.log, self._say
        words = []
        if stands["open"]:
            key = "facility.acknowledged" if stands["acknowledged"] else "facility.open"
            cause = self._facility_cause(str(stands["cause"]))
            words.append(log(key, case=stands["case"], since=self._at(stands["opened"]), cause=cause))
        tested = stands["tested"]
        words.append(log("facility.tested", at=self._at(tested)) if tested else log("facility.untested"))
        duty = say("duty", who=self._site.facilities[name].duty)
        deeds = (["ack"] if not stands["acknowledged"] else []) + ["repaired"] if stands["open"] else ["open"]
        forms = [self._facility_form(deed, name, title) for deed in (*deeds, "tested")] if self._form else []
        state = el("span", log(f"state.{stands['state']}"), class_="tag" if stands["open"] else "tag calm")
        return el(
            "article", el("h3", title, " ", state), el("p", log("comma").join((*words, duty))),
            el("div", forms, class_="deeds") if forms else None, id=f"facility-{name}",
        )  # fmt: skip

    def _facility_cause(self, cause: str) -> str:
        sort, _, name = cause.partition(":")
        if sort == "alarm" and name in self._site.alarms:
            return self._site.alarms[name].title
        if sort == "sensor" and name in self._site.sensors:
            return self._site.sensors[name].name
        return self._say("cause.hand") if cause == "hand" else cause

    def _facility_form(self, deed: str, name: str, title: str) -> Html:
        return self._folded(
            f"{deed}-{name}", self._say(f"do.{'report' if deed == 'open' else deed}"), title,
            self._text(f"{deed}-{name}-by", self._say("who"), "by", needed=True),
            self._text(f"{deed}-{name}-note", self._say("note"), "note", needed=False),
            deed=f"facility-{deed}", name=name,
        )  # fmt: skip

    def _at(self, wall_s: object) -> str:
        known = isinstance(wall_s, int | float)
        return local(self._site, float(wall_s), "%Y-%m-%d %H:%M") if known else self._tongue.log("time.unknown")  # type: ignore[arg-type]

    # -- outputs ------------------------------------------------------------------------------------------------------

    def outputs(self) -> Html:
        of_site = self._site.outputs
        rows = [self._output(n, of_site[n].kind, on) for n, on in self._found["outputs"].items() if n in of_site]
        none = el("p", self._say("outputs.none"), class_="soft") if not rows else None
        return el("section", el("h2", self._say("outputs")), none, rows, id="outputs")

    def _output(self, name: str, kind: str, on: bool) -> Html:
        say, way = self._say, Way(name, kind)
        hand, title = self._found["hands"].get(name), output_title(self._site, name, self._tongue)
        # A "." in the ids below, because a facility of this name may be opened, too.
        held = (
            self._base("output.hand", by=who(self._tongue, hand["by"]), minutes=-(-hand["left_s"] // 60))
            if hand
            else say("output.auto")
        )
        state = el("span", say(f"is.{way.actions[on]}"), class_="tag" if on else "tag calm")
        allowed = way.actions[:1] if self._site.outputs[name].line == "fire" else way.actions
        forms = [
            self._folded(
                f"{action}.{name}", say(f"do.{action}"), title,
                self._choice(f"{action}.{name}-min", say("for"), self._spans(MINUTES["output"]), "minutes"),
                deed="output", name=name, action=action,
            )
            for action in allowed
        ]  # fmt: skip
        forms.append(self._button(say("do.auto"), f"auto.{name}", title, deed="output", name=name, action="auto"))
        return el(
            "article", el("h3", title, " ", state), el("p", held),
            el("div", forms, class_="deeds") if self._form else None, id=f"output-{name}",
        )  # fmt: skip

    # -- modes --------------------------------------------------------------------------------------------------------

    def modes(self) -> Html:
        say = self._say
        rows = [self._mode(mode) for mode in self._found["modes"]]
        none = el("p", self._base("mode.none"), class_="soft") if not rows else None
        test = self._folded(
            "begin-test", say("do.test"), "",
            self._choice("test-min", say("for"), self._spans(MINUTES["test"]), "minutes"), deed="mode", mode="test",
        )  # fmt: skip
        work = self._folded(
            "begin-maintenance", say("do.maintenance"), "",
            self._choice("place", say("place"), places(self._site, self._base), "place"),
            self._choice("maintenance-min", say("for"), self._spans(MINUTES["maintenance"]), "minutes"),
            deed="mode", mode="maintenance",
        )  # fmt: skip
        forms = el("div", test, work, class_="deeds") if self._form else None
        return el("section", el("h2", say("modes")), none, rows, forms, id="modes")

    def _mode(self, mode: dict[str, Any]) -> Html:
        place = mode["place"] or self._base("mode.everywhere")
        words = self._base(
            "mode.is", mode=self._base(f"mode.{mode['mode']}"), place=place, by=who(self._tongue, mode["by"]),
            minutes=-(-mode["left_s"] // 60),
        )  # fmt: skip
        end = self._button(
            self._say("do.end"), f"end-{mode['mode']}-{mode['place']}", place, deed="mode", mode="end",
            place=mode["place"],
        ) if self._form else None  # fmt: skip
        return el("article", el("p", words), el("div", end, class_="deeds") if end else None)


def cause_words(site: Site, cause: dict[str, Any], tongue: Tongue) -> str:
    """What made an alarm come: the sensor's name and what it said; of the box's own alarms, the word for it."""
    condition, value = str(cause.get("condition", "")), cause.get("value")
    try:
        parsed = parse(condition)
    except ConditionError:
        key = f"cause.{condition.replace(' ', '-')}"
        return tongue.say(key, value=value) if key in tongue.say else condition
    if parsed.model:
        sensor, machine = site.sensors.get(parsed.sensor), site.machines.get(parsed.sensor)
        name = sensor.name if sensor else machine.title if machine else parsed.sensor
        return tongue.say("cause.model", model=parsed.model, sensor=name)
    sensor = site.sensors.get(parsed.sensor)
    if sensor is None:
        return condition
    if value == "silent":
        return tongue.say("cause.sensor", sensor=sensor.name, value=tongue.say("silent"))
    return tongue.say("cause.sensor", sensor=sensor.name, value=tongue.base.value(sensor.kind, value))


def places(site: Site, base: Words) -> dict[str, str]:
    """Where maintenance may be: what comes before the first / of a sensor that an alarm looks at."""
    looked_at = {condition.sensor for alarm in site.alarms.values() for condition in alarm.any}
    return {"": base("mode.everywhere")} | {place: place for place in sorted({s.partition("/")[0] for s in looked_at})}

"""The sentences of a site file: an alarm's `any`, a reaction's `when` and `do`.

condition = subject test [ "at" "most" number "a" "month" ] [ "for" number unit ]
subject   = sensor | "model:" name "on" sensor
test      = "is" word | compare number [ "deadband" number ]
compare   = ">" | ">=" | "<" | "<="
unit      = "s" | "min" | "h"
word      = a kind's two words (drivers/kinds.py), or "cut", "short", "silent"
sensor    = a letter or digit, then letters, digits and - . / _ ; 64 at most
name      = a small letter, then small letters, digits and -
number    = a decimal number, in the SI unit of the sensor's kind

when      = "alarm." name "active" [ number unit ]
do        = name action
"""

import difflib
import math
import re
from typing import Literal, NamedTuple, NoReturn, cast

from msgspec import Struct

from drivers.kinds import KINDS, is_active
from drivers.reading import Value

SENSOR_ID = r"[A-Za-z0-9][A-Za-z0-9\-./_]{0,63}"
NAME = r"[a-z][a-z0-9-]{0,31}"
UNIT_S = {"s": 1.0, "min": 60.0, "h": 3600.0}
DURATION_MAX_S = 31 * 86400.0
TEXT_MAX = 200
RATE_MAX = 30.0  # comings a month

SILENT = "silent"
LOOP_WORDS = ("cut", "short")
_IDLE_WORDS = frozenset(kind.idle for kind in KINDS.values() if kind.is_contact)
_ACTIVE_WORDS = frozenset(kind.active for kind in KINDS.values() if kind.is_contact)
WORDS = frozenset({*_ACTIVE_WORDS, *_IDLE_WORDS, *LOOP_WORDS, SILENT})

Compare = Literal[">", ">=", "<", "<="]
_COMPARES = (">", ">=", "<", "<=")
_TOKEN = re.compile(r"[<>]=?|=+|[^\s<>=]+")
_NUMBER = re.compile(r"[+-]?[0-9]+(\.[0-9]+)?([eE][+-]?[0-9]+)?")


class ConditionError(ValueError):
    """A sentence that cannot be read. at: the character, from 1, where reading stopped.

    found, expected, do: the three parts, as in every other error of the site file.
    """

    def __init__(self, at: int, found: str, expected: str, do: str) -> None:
        super().__init__(f"at character {at}: found {found}, expected {expected}; {do}")
        self.at, self.found, self.expected, self.do = at, found, expected, do


class Condition(Struct, frozen=True):
    """One compiled condition.

    sensor: id of the sensor, also for a model (which looks at that sensor). model: its name, else None.
    test: "is" with `word`, or a comparison with `number` (SI unit of the sensor; a model's score is 0..1).
    for_s: how long it must hold, 0 = at once; the alarm engine counts that. text: as written.
    deadband: how far behind `number` a value must come back until the test does not hold any more.
    a_month: of a model: how often it may come a month by the sensor's own past; 0: as often as it does.
    """

    subject: Literal["sensor", "model"]
    sensor: str
    model: str | None
    test: Literal["is", ">", ">=", "<", "<="]
    word: str
    number: float
    for_s: float
    text: str
    deadband: float = 0.0
    a_month: float = 0.0

    def holds(self, value: Value, *, held: bool = False) -> bool:
        """Whether `value` (of the sensor, or the model's score) fulfils the test at this instant; held: it did before.

        A sensor that said nothing for its `silent_s` has the value "silent". A value of the wrong
        sort (a word for a comparison, "cut" for "is dry") never holds.
        """
        if self.test == "is":
            return _is(self.word, value)
        if isinstance(value, bool | str):
            return False
        back = self.deadband if held else 0.0
        if self.test == ">":
            return value > self.number - back
        if self.test == ">=":
            return value >= self.number - back
        if self.test == "<":
            return value < self.number + back
        return value <= self.number + back


class When(NamedTuple):
    """A reaction's `when`: the alarm, and for how long it must have been active."""

    alarm: str
    after_s: float
    text: str


class Do(NamedTuple):
    """A reaction's `do`: the output, and the action asked of it."""

    output: str
    action: str
    text: str


def parse(text: str) -> Condition:
    """Compile a condition. Raises ConditionError, and nothing else, for any other text."""
    words = _Words(text)
    subject, model, sensor = _subject(words)
    test, word, number = _test(words)
    deadband = for_s = a_month = 0.0
    if test != "is" and words.at_word("deadband"):
        words.take()
        deadband = _deadband(words)
    if subject == "model" and test == ">" and words.at_word("at"):
        words.take()
        a_month = _rate(words)
    if words.at_word("for"):
        words.take()
        for_s = _duration(words)
    words.end('the end, or "for" and a time', 'write for example "… for 10 min"')
    return Condition(subject, sensor, model, test, word, number, for_s, text, deadband, a_month)


def parse_when(text: str) -> When:
    """Compile a reaction's `when`, e.g. "alarm.leak active 30 s". Raises ConditionError."""
    words = _Words(text)
    example = 'write for example "alarm.leak active 30 s"'
    alarm = words.match(rf"alarm\.{NAME}", '"alarm." and the name of an alarm', example)
    words.match("active", '"active"', example)
    after_s = 0.0 if words.at_end else _duration(words)
    words.end("the end", example)
    return When(alarm.removeprefix("alarm."), after_s, text)


def parse_do(text: str) -> Do:
    """Compile a reaction's `do`, e.g. "valve close". Raises ConditionError."""
    words = _Words(text)
    example = 'write for example "valve close"'
    output = words.match(NAME, "the name of an output", example)
    action = words.match("[a-z]+", "what the output shall do: open, close, on or off", example)
    words.end("the end", example)
    return Do(output, action, text)


def _is(word: str, value: Value) -> bool:
    if word in _ACTIVE_WORDS:
        return is_active(value)
    if word in _IDLE_WORDS:
        return value is False or value == "normal"
    return value == word


def _subject(words: "_Words") -> tuple[Literal["sensor", "model"], str | None, str]:
    example = 'write for example "basement/rope is wet"'
    if not words.next.startswith("model:"):
        return "sensor", None, words.match(SENSOR_ID, "the id of a sensor", example)
    example = 'write for example "model:water-leak on basement/main/flow > 0.9 for 10 min"'
    model = words.match(f"model:{NAME}", '"model:" and the name of a model', example)
    words.match("on", '"on"', example)
    return "model", model.removeprefix("model:"), words.match(SENSOR_ID, "the id of a sensor", example)


def _test(words: "_Words") -> tuple[Literal["is", ">", ">=", "<", "<="], str, float]:
    if words.at_word("is"):
        words.take()
        if words.next in WORDS:
            return "is", words.take(), 0.0
        near = difflib.get_close_matches(words.next, sorted(WORDS), 1)
        words.stop("one of " + ", ".join(sorted(WORDS)), f'write "is {near[0] if near else "wet"}"')
    if words.next in _COMPARES:
        compare = cast(Compare, words.take())
        return compare, "", _number(words, "a number in SI units", 'write for example "> 0.0005"')
    words.stop('"is" or one of > >= < <=', 'write for example "… is wet" or "… > 0.0005"')


def _number(words: "_Words", expected: str, do: str) -> float:
    """The next word as a finite number."""
    if not _NUMBER.fullmatch(words.next) or not math.isfinite(float(words.next)):
        words.stop(expected, do)
    return float(words.take())


def _deadband(words: "_Words") -> float:
    expected, example = "a number above 0 in SI units", 'write for example "… > 0.0005 deadband 0.0001"'
    start = words.index
    number = _number(words, expected, example)
    if number <= 0:
        words.index = start
        words.stop(expected, example)
    return number


def _rate(words: "_Words") -> float:
    """most 1 a month"""
    example = 'write for example "… > 0.9 at most 1 a month"'
    words.match("most", '"most"', example)
    start = words.index
    number = _number(words, f"a number above 0, {RATE_MAX:g} at most", example)
    if not 0 < number <= RATE_MAX:
        words.index = start
        words.stop(f"a number above 0, {RATE_MAX:g} at most", example)
    words.match("a", '"a month"', example)
    words.match("month", '"a month"', example)
    return number


def _duration(words: "_Words") -> float:
    """A time such as "10 min", in seconds."""
    example = 'write for example "10 min"'
    expected = "a time above 0, 31 days at most"
    start = words.index
    number = _number(words, expected, example)
    seconds = number * UNIT_S[words.match("|".join(UNIT_S), '"s", "min" or "h"', example)]
    if not 0 < seconds <= DURATION_MAX_S:
        words.index = start
        words.stop(expected, example)
    return seconds


class _Words:
    """The words of a sentence, where we are in them, and the error that names the place."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.tokens = [(m.start() + 1, m.group()) for m in _TOKEN.finditer(text[: TEXT_MAX + 1])]
        self.index = 0
        if len(text) > TEXT_MAX:
            found = f"{len(text)} characters"
            raise ConditionError(TEXT_MAX + 1, found, f"at most {TEXT_MAX}", "make one condition of each part")

    @property
    def at_end(self) -> bool:
        return self.index == len(self.tokens)

    @property
    def next(self) -> str:
        """The next word, "" at the end."""
        return "" if self.at_end else self.tokens[self.index][1]

    def at_word(self, word: str) -> bool:
        return self.next == word

    def take(self) -> str:
        word = self.next
        self.index += 1
        return word

    def match(self, pattern: str, expected: str, do: str) -> str:
        if not re.fullmatch(pattern, self.next):
            self.stop(expected, do)
        return self.take()

    def end(self, expected: str, do: str) -> None:
        if not self.at_end:
            self.stop(expected, do)

    def stop(self, expected: str, do: str) -> NoReturn:
        """Raise the error for the word we stand at."""
        at = len(self.text.rstrip()) + 1 if self.at_end else self.tokens[self.index][0]
        found = "the end" if self.at_end else f'"{self.next[:40]}"'
        raise ConditionError(at, found, expected, do)

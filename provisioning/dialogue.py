"""Questions and answers: from a person at a terminal, or from a file. Each answer is judged the moment it is given.

A question has a key, "site.name" or, of the second bus, "bus.2.port". Its words stand in words.json under the key
without numbers: K asks, "K.expected" and "K.do" tell what is wrong with an answer.
"""

import re
import tomllib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol, TextIO, TypeVar

import msgspec

from gateway.site_lines import Lines
from gateway.site_lines import Path as KeyPath
from gateway.site_reader import quoted
from gateway.words import Words

T = TypeVar("T")

CATALOGUE = Path(__file__).with_name("words.json")
TRIES_MAX = 5
ITEMS_MAX = 64
ANSWER_MAX = 1000


class GivenUp(Exception):
    """No answer that could be used. The message is for the person."""


class Unfit(Exception):
    """Answers that were right one by one and do not fit together. The message is for the person."""


class Wrong(ValueError):
    """An answer that cannot be used. key: whose "K.expected" and "K.do" say why; "" for the question's own.

    values fill the blanks of these words. secret: the answer is not to be repeated.
    """

    def __init__(self, key: str = "", *, secret: bool = False, **values: object) -> None:
        super().__init__(key)
        self.key, self.secret, self.values = key, secret, values


class Source(Protocol):
    """Where answers come from."""

    def answer(self, key: str, question: str, default: str | None) -> str:
        """The answer as written, the default for none. Raises GivenUp."""

    def refuse(self, key: str, why: str) -> None:
        """That answer was wrong; returns when there may be another. Raises GivenUp when not."""

    def tell(self, text: str) -> None:
        """Something to read."""


class Dialogue:
    """Asks a source, in one language."""

    def __init__(self, source: Source, say: Words) -> None:
        self.say = say
        self._source = source

    def ask(self, key: str, judge: Callable[[str], T], default: str | None = None, **values: object) -> T:
        """What `judge` makes of the answer; it raises Wrong for one that cannot be used. Raises GivenUp."""
        name = re.sub(r"\.\d+", "", key)
        question = self.say(name, **values)
        for _ in range(TRIES_MAX):
            text = self._source.answer(key, question, default).strip()
            try:
                return judge(_readable(text))
            except Wrong as wrong:
                self._source.refuse(key, self._why(name, text, wrong))
        raise GivenUp(self.say("tries", tries=TRIES_MAX))

    def choose(self, key: str, options: Mapping[str, str], default: str | None = None, **values: object) -> str:
        """One of the words in `options`, which maps them to what a person reads. A number in the list does as well."""
        words = list(options)
        width = max(map(len, words))
        lines = [f"  {place:>2}  {word:<{width}}  {options[word]}" for place, word in enumerate(words, 1)]
        self.tell("\n".join(lines))

        def judge(text: str) -> str:
            if text.isascii() and text.isdigit() and text not in options and 1 <= int(text[:4]) <= len(words):
                return words[int(text) - 1]
            if text not in options:
                raise Wrong("choice", choices=", ".join(words))
            return text

        return self.ask(key, judge, default, **values)

    def yes(self, key: str, default: str, **values: object) -> bool:
        """default: "yes" or "no"."""

        def judge(text: str) -> bool:
            if text.lower() not in (*_YES, *_NO):
                raise Wrong("yes-no")
            return text.lower() in _YES

        return self.ask(key, judge, default, **values)

    def items(self, sort: str, ask_one: Callable[[str], bool]) -> None:
        """A list: ask_one("bus.1"), … until it says False for "no more", 64 times at most.

        One that raises Unfit is told why and asked for again. Raises GivenUp.
        """
        for number in range(1, ITEMS_MAX + 1):
            if not self._one(f"{sort}.{number}", ask_one):
                return
        self.tell(self.say("items.max", max=ITEMS_MAX))

    def tell(self, text: str) -> None:
        self._source.tell(text)

    def _one(self, key: str, ask_one: Callable[[str], bool]) -> bool:
        for _ in range(TRIES_MAX):
            try:
                return ask_one(key)
            except Unfit as unfit:
                self._source.refuse(key, str(unfit))
        raise GivenUp(self.say("tries", tries=TRIES_MAX))

    def _why(self, name: str, text: str, wrong: Wrong) -> str:
        key = wrong.key or name
        found = self.say("found.secret") if wrong.secret else quoted(text) if text else self.say("found.nothing")
        expected, do = self.say(f"{key}.expected", **wrong.values), self.say(f"{key}.do", **wrong.values)
        return self.say("wrong", found=found, expected=expected, do=do)


_YES, _NO = ("yes", "y", "true", "是"), ("no", "n", "false", "否")


def _readable(text: str) -> str:
    if len(text) > ANSWER_MAX or "\0" in text:
        raise Wrong("unreadable", secret=True)
    try:
        text.encode()
    except UnicodeEncodeError:  # bytes that are no UTF-8, as a terminal with another coding sends them
        raise Wrong("unreadable", secret=True) from None
    return text


class Terminal:
    """A person. screen: where questions go; keys: a line an answer. An empty line takes the default."""

    def __init__(self, keys: TextIO, screen: TextIO, say: Words) -> None:
        self._keys, self._screen, self._say = keys, screen, say

    def answer(self, key: str, question: str, default: str | None) -> str:
        print(f"{question} [{default}] " if default else f"{question} ", end="", file=self._screen, flush=True)
        line = self._keys.readline(ANSWER_MAX + 2)
        if not line:
            raise GivenUp(self._say("ended"))
        return line.strip() or default or ""

    def refuse(self, key: str, why: str) -> None:
        print(why, file=self._screen)

    def tell(self, text: str) -> None:
        print(text, file=self._screen)


class AnswersFile:
    """Answers written down: TOML with the questions' keys; `bus.2.port` is `port` of the second table in `bus`.

    Raises GivenUp for a file that cannot be read. The first wrong answer is the end, because the questions behind it
    may depend on it.
    """

    def __init__(self, path: Path) -> None:
        self._name = str(path)
        try:
            text = path.read_text(encoding="utf-8")
            document = tomllib.loads(text)
        except OSError as error:
            raise GivenUp(f"{path}: found {error.strerror}, expected a file of answers; see the path") from None
        except ValueError as error:
            raise GivenUp(f"{path}: found {error}, expected TOML in UTF-8; mend it") from None
        self._lines = Lines(text)
        self._answers: dict[str, tuple[str, KeyPath]] = dict(_flat(document, "", ()))

    def answer(self, key: str, question: str, default: str | None) -> str:
        value, _ = self._answers.pop(key, (None, ()))
        return (default or "") if value is None else value

    def refuse(self, key: str, why: str) -> None:
        raise GivenUp(f"{self._name}:{self._line(key)}: {key}: {why}")

    def tell(self, text: str) -> None:
        pass  # nobody reads along

    def unasked(self) -> list[str]:
        """Answers that no question was asked for, each with its line."""
        return [f"{self._name}:{self._lines.of(path)}: {key}" for key, (_, path) in self._answers.items()]

    def _line(self, key: str) -> int:
        parts = tuple(int(part) - 1 if part.isdigit() else part for part in key.split("."))
        return self._lines.of(parts)


def _flat(value: Any, key: str, path: KeyPath) -> list[tuple[str, tuple[str, KeyPath]]]:
    """[("bus.1.port", ("usb:1-1.2", path))] of a table."""
    if isinstance(value, dict):
        return [one for name, each in value.items() for one in _flat(each, f"{key}.{name}".lstrip("."), (*path, name))]
    if isinstance(value, list) and any(isinstance(each, dict) for each in value):
        return [one for place, each in enumerate(value) for one in _flat(each, f"{key}.{place + 1}", (*path, place))]
    if isinstance(value, list):
        return [(key, (", ".join(map(_written, value)), path))]
    return [(key, (_written(value), path))]


def _written(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return str(value)


def of_type(kind: Any, *, secret: bool = False) -> Callable[[str], Any]:
    """A judge for one of the types in gateway/site_types.py; numbers are taken from their text."""

    def judge(text: str) -> Any:
        try:
            return msgspec.convert(text, kind, strict=False)
        except msgspec.ValidationError:
            raise Wrong(secret=secret) from None

    return judge


def optional(judge: Callable[[str], T]) -> Callable[[str], T | str]:
    """The same, but nothing is an answer: ""."""
    return lambda text: judge(text) if text else ""

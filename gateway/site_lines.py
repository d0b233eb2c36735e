"""Where in a TOML text each key stands: tomllib gives the values, this gives their lines."""

import re
import tomllib
from bisect import bisect_right

Path = tuple[str | int, ...]
"""("sensor", "basement/rope", "on_s"); the items of an array count from 0."""

_BLANK = re.compile(r"(?:[ \t\r\n]|#[^\n]*)*")
_SPACE = re.compile(r"[ \t]*")
_KEY = re.compile(r"""[A-Za-z0-9_-]+|"(?:\\.|[^"\\\n])*"|'[^'\n]*'""")
# A long string ends at its first three quotes; up to two more right behind belong to its text.
_STRING = re.compile(
    r'''"""(?:\\.|[^\\])*?""""{0,2}|\'\'\'.*?\'\'\'\'{0,2}|"(?:\\.|[^"\\\n])*"|'[^'\n]*\'''', re.DOTALL
)
_PLAIN = re.compile(r"[^,\]}#\n]*")


class Lines:
    """`of(path)` for a text that tomllib has accepted."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0
        self._line_starts = [0, *(m.end() for m in re.finditer("\n", text))]
        self._lines: dict[Path, int] = {}
        self._tables_in_array: dict[Path, int] = {}
        self._document()

    def of(self, path: Path) -> int:
        """Line, from 1, of the key at `path`; of its nearest enclosing table when the key is not there."""
        while path and path not in self._lines:
            path = path[:-1]
        return self._lines.get(path, 1)

    def _document(self) -> None:
        table: Path = ()
        while self._skip(_BLANK) < len(self._text):
            if self._text[self._at] == "[":
                table = self._header()
            else:
                self._pair(table)

    def _header(self) -> Path:
        """[table] or [[table in an array]], from the bracket to behind the closing one."""
        start = self._at
        brackets = 2 if self._text.startswith("[[", self._at) else 1
        self._at += brackets
        keys = self._keys()
        self._at += brackets
        path: Path = ()
        for key in keys[:-1]:
            path = self._last_of_array((*path, key))
        path = (*path, keys[-1])
        if brackets == 2:
            self._note(path, start)
            self._tables_in_array[path] = self._tables_in_array.get(path, -1) + 1
        path = self._last_of_array(path)
        self._note(path, start)
        return path

    def _last_of_array(self, path: Path) -> Path:
        return (*path, self._tables_in_array[path]) if path in self._tables_in_array else path

    def _pair(self, table: Path) -> None:
        start = self._at
        path: Path = (*table, *self._keys())
        self._at += 1  # "="
        self._note(path, start)
        self._value(path)

    def _keys(self) -> list[str]:
        """A dotted key, and the blanks around it."""
        keys: list[str] = []
        while True:
            self._skip(_SPACE)
            start, end = self._at, self._skip(_KEY)
            word = self._text[start:end]
            keys.append(str(tomllib.loads(f"k = {word}")["k"]) if word[0] in "\"'" else word)
            if self._skip(_SPACE) == len(self._text) or self._text[self._at] != ".":
                return keys
            self._at += 1

    def _value(self, path: Path) -> None:
        self._skip(_SPACE)
        first = self._text[self._at]
        if first == "[":
            self._array(path)
        elif first == "{":
            self._inline_table(path)
        else:
            self._skip(_STRING if first in "\"'" else _PLAIN)

    def _array(self, path: Path) -> None:
        self._at += 1
        index = 0
        while self._text[self._skip(_BLANK)] != "]":
            self._note((*path, index), self._at)
            self._value((*path, index))
            if self._text[self._skip(_BLANK)] == ",":
                self._at += 1
            index += 1
        self._at += 1

    def _inline_table(self, path: Path) -> None:
        self._at += 1
        while self._text[self._skip(_BLANK)] != "}":
            self._pair(path)
            if self._text[self._skip(_BLANK)] == ",":
                self._at += 1
        self._at += 1

    def _skip(self, pattern: re.Pattern[str]) -> int:
        """Go past what matches here, and say where that is."""
        match = pattern.match(self._text, self._at)
        self._at = match.end() if match else self._at
        return self._at

    def _note(self, path: Path, at: int) -> None:
        """The first place a table or key is named is where its mistakes are reported."""
        line = bisect_right(self._line_starts, at)
        for length in range(1, len(path) + 1):
            self._lines.setdefault(path[:length], line)

"""What OmegaConf.to_yaml says of a config, byte for byte, without thinking over the same words again and again.

Each trial writes its whole config, of which nearly all is Hydra's and the same for all trials. To find out how its
keys and values are to be quoted takes PyYAML 3 ms, and twice that in a forked process. As long as a word stands in
one line, how it is written depends on that word alone: so OmegaConf is asked once, the answers are remembered, by
forked processes too, and only put into lines here. What isn't made of such words is left to OmegaConf.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from itertools import chain
from typing import Any, NamedTuple

from omegaconf import DictConfig, ListConfig, OmegaConf

# Up to here PyYAML doesn't look for a space at which to break a line.
_WIDTH = 80
# Longer keys, and those with line breaks, aren't just written before a colon (PyYAML: from 128 letters on).
_LONGEST_KEY = 100
# PyYAML leaves these as they are, in a text that it takes for several lines.
_OTHER_LINE_BREAKS = "\x85\u2028\u2029"
# What each trial has of its own (overrides, directories, ids) is mostly like this, and written as it stands: no
# number, truth or null begins with a letter and has one of these signs in it, and none of them means a thing to YAML.
_PLAIN = re.compile(r"[A-Za-z][A-Za-z0-9.-]*[=/_][A-Za-z0-9.=/_-]*|/[A-Za-z0-9.=/_-]*")
_PLAIN_FLOAT = re.compile(r"-?[0-9]+\.[0-9]+")
_BELOW = object()  # instead of a value: its entries are in the lines below


class _Place(NamedTuple):
    """An entry. first: what is before it in its line. key: None in a list. value: _BELOW, or a scalar."""

    first: str
    key: Any
    value: Any


class _NotOfWords(Exception):
    """There is something in a config that isn't written here."""


class ConfigWriter:
    """Writes configs, and remembers how.

    few_words: of up to so many new ones it is cheaper to ask for each than to have the whole config written.
    most_words: it begins anew when it knows more.
    """

    def __init__(self, few_words: int = 50, most_words: int = 20_000) -> None:
        self._few_words = few_words
        self._most_words = most_words
        # How each is written; None: in several lines, which depend on where it stands.
        self._words: dict[str, str | None] = {}
        self._floats: dict[str, str | None] = {}  # by their repr: 0.0 == -0.0
        # Whole entries that don't fit into a line, by column, key and value; without what is before them.
        self._entries: dict[tuple[int, str | None, str], str] = {}

    def to_yaml(self, config: DictConfig | ListConfig) -> str:
        """Return what OmegaConf.to_yaml(config) does. Errors: its own."""
        return self._to_yaml(OmegaConf.to_container(config, enum_to_str=True), lambda: OmegaConf.to_yaml(config))

    def content_to_yaml(self, content: Any) -> str:
        """The same of a container, as OmegaConf.to_container returns it. Errors: as of OmegaConf.create too."""
        return self._to_yaml(content, lambda: OmegaConf.to_yaml(OmegaConf.create(content)))

    def _to_yaml(self, content: Any, by_omegaconf: Callable[[], str]) -> str:
        try:
            try:
                return self._write(content)
            except KeyError:
                new = self._new_words(content)
                if len(new) <= self._few_words:
                    self._ask(new)
                    return self._write(content)
        except (_NotOfWords, KeyError):
            return by_omegaconf()
        # Nearly all that there will ever be to know, at the price of being told it once.
        text = by_omegaconf()
        self._read(content, text)
        return text

    def _write(self, content: Any) -> str:
        """Errors: KeyError for a word that isn't known; _NotOfWords."""
        lines = []
        for place in _places(content, "", ""):
            first, key, value = place
            head = "- " if key is None else f"{self._key(key)}:" if value is _BELOW else f"{self._key(key)}: "
            if value is _BELOW:
                lines.append(f"{first}{head}\n")
            elif _fits(text := self._scalar(value), len(first) + len(head)):
                lines.append(f"{first}{head}{text}\n")
            else:
                lines.append(first + self._entry(place))
        return "".join(lines)

    def _key(self, key: Any) -> str:
        is_word = type(key) is str and 0 < len(key) <= _LONGEST_KEY and key.isprintable()
        if not is_word or (word := self._word(key)) is None:
            raise _NotOfWords  # PyYAML may write it with a question mark
        return word

    def _word(self, text: str) -> str | None:
        """Errors: KeyError if it isn't known."""
        return text if _is_plain(text) else self._words[text]

    def _scalar(self, value: Any) -> str | None:
        kind = type(value)
        if kind is str:
            return self._word(value)
        if value is None:
            return "null"
        if kind is bool:
            return "true" if value else "false"
        if kind is int:
            return str(value)
        if kind is float:
            text = repr(value)
            return text if _PLAIN_FLOAT.fullmatch(text) else self._floats[text]
        if kind is dict or kind is list:  # an empty one
            return "{}" if kind is dict else "[]"
        raise _NotOfWords

    def _entry(self, place: _Place) -> str:
        """Return all lines of an entry, without what is before it in the first one."""
        column = len(place.first)
        known = column, place.key, place.value
        if known not in self._entries:
            content: Any = {"x": [place.value]} if place.key is None else {place.key: place.value}
            for _ in range(column // 2):
                content = {"x": content}
            lines = _written(content).split("\n", column // 2 + (place.key is None))
            self._entries[known] = lines[-1][column:]
        return self._entries[known]

    def _new_words(self, content: Any) -> list[str | float]:
        """The keys and values of which it isn't known how they are written."""
        parts = list(chain.from_iterable(place[1:] for place in _places(content, "", "")))
        words = {
            part: part for part in parts if type(part) is str and part not in self._words and not _is_plain(part)
        }
        floats = {repr(part): part for part in parts if type(part) is float and repr(part) not in self._floats}
        return [*words, *floats.values()]

    def _ask(self, words: list[str | float]) -> None:
        self._read(words, _written(words))

    def _read(self, content: Any, text: str) -> None:
        """Remember how the words of a content are written in its text, as far as that is plain to see."""
        if len(self._words) + len(self._floats) + len(self._entries) > self._most_words:
            for known in (self._words, self._floats, self._entries):
                known.clear()
        lines = text.split("\n")
        at = 0
        for place in _places(content, "", ""):
            first, key, value = place
            written = [""] if key is None else [key, f"'{key}'"] if type(key) is str else []
            heads = [first + (word + ":" if word else "-") + ("" if value is _BELOW else " ") for word in written]
            head = next(filter(lines[at].startswith, heads), None)
            if head is None:
                return  # a key that is written in another way, or is no word
            begin, at = at, at + 1
            if key is not None:
                self._words[key] = written[heads.index(head)]
            if value is not _BELOW:
                while at < len(lines) - 1 and (not lines[at] or lines[at].startswith(" " * len(first) + "  ")):
                    at += 1
                self._remember(place, lines[begin:at], len(head))

    def _remember(self, place: _Place, lines: list[str], column: int) -> None:
        """column: at which the value begins."""
        value = place.value
        in_one_line = len(lines) == 1 and not any(letter in lines[0] for letter in _OTHER_LINE_BREAKS)
        said = lines[0][column:] if in_one_line else None
        if type(value) is float:
            self._floats[repr(value)] = said
        elif type(value) is str:
            self._words[value] = said
            if not _fits(said, column):
                first = len(place.first)
                self._entries[first, place.key, value] = "\n".join([*lines, ""])[first:]


def _places(content: Any, first: str, pad: str) -> Iterator[_Place]:
    """Its entries and those of all that is in it, in order. first: before the first one; pad: before the others.

    Errors: _NotOfWords if it is empty, or nothing that could have entries.
    """
    if not content or type(content) not in (dict, list):
        raise _NotOfWords
    is_dict = type(content) is dict
    for key, value in content.items() if is_dict else ((None, value) for value in content):
        if (kind := type(value)) not in (dict, list) or not value:
            yield _Place(first, key, value)
        elif not is_dict:
            yield from _places(value, first + "- ", pad + "  ")
        else:
            yield _Place(first, key, _BELOW)
            below = pad + "  " if kind is dict else pad
            yield from _places(value, below, below)
        first = pad


def _is_plain(text: str) -> bool:
    return _PLAIN.fullmatch(text) is not None


def _written(content: Any) -> str:
    """Errors: _NotOfWords."""
    try:
        return OmegaConf.to_yaml(OmegaConf.create(content))
    except Exception as error:  # what OmegaConf takes for an interpolation that isn't one
        raise _NotOfWords from error


def _fits(text: str | None, column: int) -> bool:
    """True if it is written in one line where it begins at a column."""
    return text is not None and (column + len(text) <= _WIDTH or (" " not in text and text[0] != '"'))


_writer = ConfigWriter()
config_text = _writer.to_yaml
content_text = _writer.content_to_yaml

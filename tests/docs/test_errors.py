"""The index of messages has every message of the code, no other ones, and each is provoked by a test."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.docs.conftest import DOCS, ROOT
from tests.docs.messages import PLUGIN, SERVER, messages, texts
from tests.docs.words import looks_at, module, texts_of

PAGE = DOCS / "errors.md"
TESTS = ROOT / "tests"
OF_SERVER = "## Answers of the embedded server"

# Hydra's own, which users of this plugin meet.
OF_HYDRA = {"Key '…' not in 'WandbSweeperConf'", "Could not override '…'", "Could not find '…'"}

# Put together of texts that say nothing alone.
ASSEMBLED = {"agent-… died: …", "agent-… was gone before it began: …"}

# Messages that aren't in the index by these words, and why.
NOT_LISTED = {
    "…: … …": "key, value and rule of a sweep file; the rule is listed: `must be …`",
    "….…: … …": "the same",
    "… … failed": "in the server's log, beside `the server failed: …`, which is listed",
    "parameter … (…): …": "the beginning of what `reader.fail` says; listed as `parameter …`",
    "links are made for whoever has the API key": "nobody gets as far; listed as `this server needs its API key`",
    "…: …: …": "`The agent failed: …` and `The launcher reports: …`, which are listed",
}


def entries() -> Iterator[str]:
    """The messages in the first column of the page's tables."""
    for line in PAGE.read_text().splitlines():
        if line.startswith("| `"):
            yield from re.findall(r"`([^`]+)`", line.partition(" | ")[0])


def provoked_by() -> Iterator[tuple[str, str]]:
    """Message and test, as provoked_by.txt has them."""
    test = ""
    for line in (Path(__file__).parent / "provoked_by.txt").read_text().splitlines():
        if line.startswith("    "):
            yield line.removeprefix("    "), test
        elif not line.startswith("#"):
            test = line


ENTRIES = list(entries())
PROVOKED_BY = dict(provoked_by())


def begins(entry: str, text: str) -> bool:
    """True if a text begins with an entry's words; `…` stands for anything."""
    first, *others = entry.split("…")
    if not text.startswith(first):
        return False
    at = len(first)
    for words in others:
        if (found := text.find(words, at)) < 0:
            return False
        at = found + len(words)
    return True


def is_listed(text: str) -> bool:
    """True if a text begins with the words of an entry."""
    return any(begins(entry, text) for entry in ENTRIES)


ALL_MESSAGES = [*messages(PLUGIN), *messages(SERVER)]
ALL_TEXTS = [text for package in (PLUGIN, SERVER) for text in texts(package)]


def test_every_message_of_the_code_is_in_the_index() -> None:
    assert [m for m in ALL_MESSAGES if m.text not in NOT_LISTED and not is_listed(m.text)] == []


def test_every_message_in_the_index_is_one_of_the_code() -> None:
    others = [entry for entry in ENTRIES if entry not in OF_HYDRA | ASSEMBLED]
    assert [entry for entry in others if not any(begins(entry, text) for text in ALL_TEXTS)] == []


def test_the_messages_of_the_code_are_found() -> None:
    assert len(ALL_MESSAGES) > 300
    assert len(ENTRIES) > 200


def test_every_reason_to_leave_a_message_out_is_needed() -> None:
    assert [text for text in NOT_LISTED if text not in {message.text for message in ALL_MESSAGES}] == []


def test_every_message_in_the_index_is_said_to_be_provoked_by_a_test_and_no_other_is() -> None:
    assert [entry for entry in ENTRIES if entry not in PROVOKED_BY] == []
    assert [entry for entry in PROVOKED_BY if entry not in ENTRIES] == []
    assert len(set(ENTRIES)) == len(ENTRIES), "a message is listed twice"


def test_every_test_that_is_said_to_provoke_a_message_exists() -> None:
    named = [test.split("::") for test in sorted(set(PROVOKED_BY.values()))]
    assert [name for _, name in named if not name.startswith("test_")] == []
    assert [f"{path}::{name}" for path, name in named if name not in module(TESTS / path).functions] == []


def test_every_test_that_is_said_to_provoke_a_message_looks_at_its_words() -> None:
    named = [(entry, *test.split("::")) for entry, test in PROVOKED_BY.items()]
    assert [
        f"{path}::{name}: {entry}" for entry, path, name in named if not looks_at(texts_of(TESTS / path, name), entry)
    ] == []


@pytest.mark.parametrize(
    ("text", "message", "looks"),
    [
        ("a grid can't list 'lr'", "a grid can't list '…'", True),
        ("lr", "a grid can't list '…'", False),
        (r"unknown key\(s\) .*; hyperband takes", "unknown key(s) …; hyperband takes …", True),
        ("run 1 failed", "Trial … failed in rank …; see ….", False),
        ("failed in rank 1", "Trial … failed in rank …; see ….", True),
        ("these must be", "… = … must …", True),
        ("mustard", "… = … must …", False),
    ],
)
def test_words_of_a_message_are_found_in_a_text(tmp_path: Path, text: str, message: str, looks: bool) -> None:
    source = f'WORDS = r"""{text}"""\n\ndef test_it():\n    """{message}"""\n    assert WORDS in error\n'
    (tmp_path / "test_it.py").write_text(source)
    assert looks_at(texts_of(tmp_path / "test_it.py", "test_it"), message) == looks

"""Text for the character model: read, cleaned, split, and turned into tokens.

A corpus is one UTF-8 file, or Python's own language reference where none is given. Cleaning
drops the byte order mark and control characters, normalises newlines and composes
accents (Unicode NFC), and drops long paragraphs that were there before: the language
reference repeats a fifth of itself, and a validation split that repeats the training split
would measure memory.
"""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.saving import sha256
from models.training import TrainingError

UNKNOWN = "\ufffd"  # token 0
RAREST = 5  # a character seen less often in the training split becomes UNKNOWN
REPEATED = 80  # paragraphs this long, in characters, are kept once
FEWEST = 20_000  # characters that a corpus needs, cleaned
BLOCKS = 10  # stretches of the text, each with its own training, validation and test part
HELD_OUT = 0.05  # of each block for validation, and as much again for testing
MOST_HELD_OUT = 100_000  # characters; a large corpus doesn't need more to be judged
EVALUATION_STREAMS = 8  # rows that a split is judged in: one would be eight times as slow
SAMPLE_SHAPE = (256, 64)  # rows and characters of the calibration samples
EVAL_ROWS, EVAL_LENGTH = 512, 128  # at most; and characters of each row

Tokens = NDArray[np.int64]


@dataclass(frozen=True)
class Corpus:
    """Cleaned text, where it came from, and how much cleaning took away."""

    text: str
    origin: str
    sha256: str
    removed: int


@dataclass(frozen=True)
class Sampling:
    """How text is generated: what it goes on from, for how long, how boldly."""

    prompt: str
    length: int
    temperature: float


@dataclass(frozen=True)
class Split:
    """The three parts of a text that never overlap."""

    train: str
    validation: str
    test: str


@dataclass(frozen=True)
class Vocabulary:
    """The characters a model knows; a character's place is its token."""

    characters: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.characters)

    def encode(self, text: str) -> Tokens:
        """Tokens of a text, 0 for every character that isn't in the vocabulary."""
        table = np.zeros(0x110000, np.int64)
        for token, character in enumerate(self.characters):
            table[ord(character)] = token
        return table[np.frombuffer(text.encode("utf-32-le"), np.uint32)]

    def decode(self, tokens: Sequence[int] | Tokens) -> str:
        """The text of some tokens."""
        return "".join(self.characters[token] for token in tokens)


def load_corpus(path: Path | None) -> Corpus:
    """Read and clean a text.

    Raises:
        TrainingError: It can't be read, isn't UTF-8, or is too short.
    """
    raw = _language_reference() if path is None else _read_utf8(path)
    origin = "pydoc_data.topics" if path is None else str(path)
    text = clean(raw)
    if len(text) < FEWEST:
        raise TrainingError(
            f"{origin} is too short: {len(text)} characters after cleaning, {FEWEST} needed",
            "give a longer --text, or none for Python's language reference",
        )
    return Corpus(text, origin, sha256(text.encode()), len(raw) - len(text))


def clean(text: str) -> str:
    """Normalised text without control characters and repeated long paragraphs."""
    text = text.replace("\r\n", "\n").replace("\r", "\n").replace("\ufeff", "")
    text = unicodedata.normalize("NFC", text)
    controls = {ord(c) for c in set(text) if unicodedata.category(c) == "Cc"} - {0x09, 0x0A}
    text = text.translate(dict.fromkeys(controls))
    return "\n\n".join(_first_appearances(text.split("\n\n")))


def split_text(text: str) -> Split:
    """Cut a text into blocks and give the end of each to validation and testing.

    One stretch at the very end would judge the model by whatever subject comes last.
    """
    held = min(int(HELD_OUT * len(text)), MOST_HELD_OUT) // BLOCKS
    bounds = [len(text) * block // BLOCKS for block in range(BLOCKS + 1)]
    spans = list(pairwise(bounds))
    return Split(
        train="".join(text[start : end - 2 * held] for start, end in spans),
        validation="".join(text[end - 2 * held : end - held] for _, end in spans),
        test="".join(text[end - held : end] for _, end in spans),
    )


def build_vocabulary(train: str) -> Vocabulary:
    """The training split's characters, without the rarest, in code point order.

    Raises:
        TrainingError: All are rare.
    """
    counts = Counter(train)
    known = sorted(c for c, count in counts.items() if count >= RAREST and c != UNKNOWN)
    if not known:
        raise TrainingError(
            f"no character is seen {RAREST} times in the training split", "give a longer --text"
        )
    return Vocabulary((UNKNOWN, *known))


def streams(tokens: Tokens, rows: int) -> tuple[Tokens, Tokens]:
    """Inputs and next-character labels as `rows` contiguous streams, (rows, length) each."""
    used = whole_streams(tokens, rows)
    return used[:-1].reshape(rows, -1), used[1:].reshape(rows, -1)


def whole_streams(tokens: Tokens, rows: int) -> Tokens:
    """The tokens that `streams` uses: as many as fill `rows` streams of one length."""
    return tokens[: (len(tokens) - 1) // rows * rows + 1]


def windows(length: int, width: int) -> Iterator[slice]:
    """Consecutive slices of a stream; the last may be narrower."""
    return (slice(start, min(start + width, length)) for start in range(0, length, width))


def calibration_samples(
    train: Tokens, layers: int, hidden: int, seed: int
) -> dict[str, NDArray[Any]]:
    """Consecutive stretches of the training split, with the state a stream begins with."""
    rows, length = SAMPLE_SHAPE
    start = int(np.random.default_rng(seed).integers(len(train) - rows * length + 1))
    state = np.zeros((layers, rows, hidden), np.float32)
    tokens = train[start : start + rows * length].reshape(rows, length)
    return {"tokens": tokens, "h": state, "c": state}


def evaluation_set(test: Tokens) -> dict[str, NDArray[Any]]:
    """The test split in rows, each label being the character after its token."""
    rows = min((len(test) - 1) // EVAL_LENGTH, EVAL_ROWS)
    used = rows * EVAL_LENGTH
    return {
        "tokens": test[:used].reshape(rows, EVAL_LENGTH),
        "labels": test[1 : used + 1].reshape(rows, EVAL_LENGTH),
    }


def _first_appearances(paragraphs: Sequence[str]) -> Iterator[str]:
    seen: set[str] = set()
    for paragraph in paragraphs:
        if len(paragraph) >= REPEATED and paragraph in seen:
            continue
        seen.add(paragraph)
        yield paragraph


def _language_reference() -> str:
    try:
        from pydoc_data.topics import topics
    except ImportError:
        raise TrainingError(
            "this Python comes without its language reference (pydoc_data)",
            "give a UTF-8 text of your own with --text FILE",
        ) from None
    return "\n\n".join(topics.values())


def _read_utf8(path: Path) -> str:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise TrainingError(
            f"{path} can't be read: {error.strerror or error}", "give a text file with --text"
        ) from error
    try:
        return content.decode()
    except UnicodeDecodeError as error:
        raise TrainingError(
            f"{path} isn't UTF-8: byte {error.start} is 0x{content[error.start]:02x}"
            f" ({error.reason})",
            f"convert it, for instance: iconv -f latin1 -t utf-8 {path} > utf8.txt",
        ) from None

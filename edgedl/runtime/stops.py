"""Stop strings: text is held back while it may still become one."""

from __future__ import annotations

from collections.abc import Sequence


class StopFilter:
    """Passes text on up to the first stop string; belongs to one text.

    Only what passes through is searched, not the prompt. The text ends as soon as a stop
    string is whole; of several that the same piece makes whole, at the one that starts first.
    """

    def __init__(self, stops: Sequence[str]) -> None:
        self._stops = stops
        self._held = ""
        self.ended = False

    def push(self, piece: str) -> str:
        """The text that can be shown now; may be empty."""
        text = self._held + piece
        found = [at for at in map(text.find, self._stops) if at >= 0]
        if found:
            self.ended = True
            self._held = ""
            return text[: min(found)]
        shown = len(text) - max(_begun(text, stop) for stop in self._stops)
        self._held = text[shown:]
        return text[:shown]

    def rest(self) -> str:
        """What was held back and became no stop string."""
        held, self._held = self._held, ""
        return held


def _begun(text: str, stop: str) -> int:
    """How many characters at the text's end are a stop string's beginning."""
    longest = min(len(text), len(stop) - 1)
    return next((n for n in range(longest, 0, -1) if text.endswith(stop[:n])), 0)

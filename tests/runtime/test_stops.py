"""Text up to a stop string passes at once, except for what may still become one."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from edgedl.runtime.stops import StopFilter


def test_text_that_may_become_a_stop_string_is_held_until_it_is_known() -> None:
    stops = StopFilter(["aab", "c d"])
    assert [stops.push(piece) for piece in "xaaac"] == ["x", "", "", "a", "aa"]
    assert stops.push(" e") == "c e"
    assert (stops.push("aa"), stops.rest(), stops.rest()) == ("", "aa", "")
    assert (stops.push("ya"), stops.push("a"), stops.ended) == ("y", "", False)
    assert (stops.push("bc"), stops.ended, stops.rest()) == ("", True, "")


def test_of_stop_strings_in_one_piece_the_first_ends_the_text() -> None:
    stops = StopFilter(["late", "early"])
    assert (stops.push("so early, so late"), stops.ended) == ("so ", True)


@given(
    st.lists(st.text("ab", min_size=1, max_size=3), max_size=12),
    st.lists(st.text("ab", min_size=1, max_size=4), min_size=1, max_size=3),
)
def test_what_passes_is_the_text_before_the_first_whole_stop_string(
    pieces: list[str], stops: list[str]
) -> None:
    passing, shown, text = StopFilter(stops), "", ""
    for piece in pieces:
        shown, text = shown + passing.push(piece), text + piece
        found = [text.find(stop) for stop in stops if stop in text]
        assert passing.ended == bool(found)
        if found:
            assert shown == text[: min(found)]
            return
        held = text[len(shown) :]
        assert not held or any(stop.startswith(held) for stop in stops)
        assert not any(
            text.endswith(stop[: len(held) + 1]) for stop in stops if len(stop) > len(held) + 1
        )
    assert shown + passing.rest() == text

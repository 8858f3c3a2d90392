"""Who wins, and who is on the front."""

from __future__ import annotations

from edgedl.export.front import Contender, bar, dominator, winner
from tests.export.contenders import contender, field_of, medians


def test_the_fastest_wins() -> None:
    field = field_of(contender("fp32", 40), contender("a", 30, 90), contender("b", 20, 95, 0.3))
    assert winner(field).name == "b"


def test_a_tie_goes_to_the_smaller_file() -> None:
    field = field_of(contender("fp32", 40), contender("a", 30.0, 90), contender("b", 30.05, 80))
    assert winner(field).name == "b"
    field = field_of(contender("fp32", 40), contender("a", 30.0, 90), contender("b", 32.0, 80))
    assert winner(field).name == "a"


def test_of_tied_files_of_a_size_the_one_closer_to_the_source_wins() -> None:
    alike = contender("a", 30.0, 1000, 0.1), contender("b", 30.05, 995, 0.4)
    assert winner(field_of(contender("fp32", 40, 4000), *alike)).name == "a"


def test_one_seen_to_be_slower_dominates_nothing_however_noisy_it_was() -> None:
    noisy = Contender("fp16", True, 50, 0.0, (30_000, 75_000) * 4)
    field = field_of(contender("fp32", 40, 100), noisy)
    assert not field.is_slower(noisy, field.find("fp32"))
    assert dominator(field.find("fp32"), field) is None


def test_a_smaller_file_seen_to_be_much_slower_is_no_tie_however_noisy_it_was() -> None:
    slow = Contender("b", True, 10, 0.0, (25_000, 55_000) * 4)
    field = field_of(contender("fp32", 40), contender("a", 30, 90), slow)
    ratio = field.ratio(slow, field.find("a"))
    assert ratio is not None
    assert ratio.verdict == "inconclusive"
    assert winner(field).name == "a"


def test_a_difference_within_the_noise_of_equal_files_is_a_tie() -> None:
    contenders = (contender("fp32", 40), contender("a", 30.0, 90), contender("b", 30.4, 80))
    assert winner(field_of(*contenders)).name == "a"
    assert winner(field_of(*contenders, twin=0.97)).name == "b"


def test_int8_that_is_slower_than_float_is_never_the_default() -> None:
    field = field_of(contender("fp32", 40), contender("int8", 60, 25))
    assert winner(field).name == "fp32"
    assert bar(field.find("int8"), field) == "slower than fp32 here: never the default"
    assert dominator(field.find("int8"), field) is None  # it is the smallest


def test_int8_that_is_larger_than_float_is_never_the_default() -> None:
    field = field_of(contender("fp32", 40, 100), contender("int8", 20, 101))
    assert winner(field).name == "fp32"
    assert bar(field.find("int8"), field) == "larger than fp32: never the default"


def test_another_float_model_may_be_larger() -> None:
    folded = Contender("folded", False, 150, 0.0, medians(20))
    assert winner(field_of(contender("fp32", 40), folded)).name == "folded"


def test_the_front_is_of_time_bytes_and_loss() -> None:
    field = field_of(
        contender("fp32", 40, 100, 0.0),
        contender("fast", 20, 50, 0.4),
        contender("small", 30, 25, 0.4),
        contender("worst", 35, 60, 0.4),
        contender("twin", 20.01, 50, 0.4),
    )
    beaten = {c.name: dominator(c, field) for c in field.contenders}
    assert [name for name, by in beaten.items() if by is None] == ["fp32", "fast", "small", "twin"]
    by = beaten["worst"]
    assert by is not None
    assert by.name in ("fast", "small", "twin")


def test_those_that_never_ran_in_one_round_are_compared_through_the_baseline() -> None:
    first, rest = medians(40), medians(40)
    early = Contender("early", True, 60, 0.2, (*medians(30)[:4], *(None,) * 4))
    late = Contender("late", True, 50, 0.2, (*(None,) * 4, *medians(20)[4:]))
    field = field_of(Contender("fp32", False, 100, 0.0, first[:4] + rest[4:]), early, late)
    assert winner(field).name == "late"
    by = dominator(early, field)
    assert by is not None
    assert by.name == "late"


def test_what_was_not_measured_is_neither() -> None:
    unmeasured = Contender("late", True, 1, 0.0, (None,) * 7 + (10,))
    field = field_of(contender("fp32", 40), unmeasured)
    assert field.measured == [field.find("fp32")]
    assert winner(field).name == "fp32"

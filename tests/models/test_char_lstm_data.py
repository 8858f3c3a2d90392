"""Text cleaned, split and tokenised, and the 3-gram model to beat."""

import math

import numpy as np
import pytest

from models.char_lstm import data, ngram
from models.char_lstm.data import Vocabulary
from models.training import TrainingError

ALPHABET = Vocabulary(("\ufffd", "a", "b", "c"))


def numbered_lines(count):
    return "".join(f"line {number}\n" for number in range(count))


def test_cleaning_normalises_what_editors_leave_behind():
    assert (
        data.clean("\ufeffone\r\ntwo\rthree\x00\x1b\x85\tcafe\u0301")
        == "one\ntwo\nthree\tcaf\u00e9"
    )


def test_long_paragraphs_are_kept_once_and_short_ones_as_often_as_they_come():
    long, short = "x" * 80, "refrain"
    text = "\n\n".join([long, short, "between", long, short])
    assert data.clean(text) == "\n\n".join([long, short, "between", short])


def test_the_default_text_is_pythons_language_reference():
    corpus = data.load_corpus(None)
    assert corpus.origin == "pydoc_data.topics"
    assert 'The "assert" statement' in corpus.text
    assert len(corpus.text) > 300_000
    assert corpus.removed > 0


def test_a_text_of_ones_own_is_read(tmp_path):
    path = tmp_path / "own.txt"
    path.write_bytes(b"\xef\xbb\xbf" + numbered_lines(3000).replace("\n", "\r\n").encode())
    corpus = data.load_corpus(path)
    assert corpus.text == numbered_lines(3000)
    assert len(corpus.sha256) == 64


def test_bad_utf8_is_named_by_its_offset(tmp_path):
    path = tmp_path / "latin1.txt"
    path.write_bytes(b"abc" * 10_000 + b"caf\xe9 " + b"abc" * 1000)
    with pytest.raises(TrainingError, match="isn't UTF-8: byte 30003 is 0xe9"):
        data.load_corpus(path)


@pytest.mark.parametrize("content", [b"", b"short", b"\x00" * 50_000])
def test_too_short_a_text_is_an_error(tmp_path, content):
    path = tmp_path / "short.txt"
    path.write_bytes(content)
    with pytest.raises(TrainingError, match="too short"):
        data.load_corpus(path)


def test_a_text_that_cannot_be_read_is_an_error(tmp_path):
    with pytest.raises(TrainingError, match=r"nowhere.txt can't be read: No such file"):
        data.load_corpus(tmp_path / "nowhere.txt")
    with pytest.raises(TrainingError, match="can't be read"):
        data.load_corpus(tmp_path)


def test_the_three_splits_share_nothing_and_lose_nothing():
    text = "".join(chr(0x4E00 + number) for number in range(20_003))  # every character once
    split = data.split_text(text)
    parts = split.train + split.validation + split.test
    assert sorted(parts) == sorted(text)
    assert len(split.validation) == len(split.test) == 1000
    assert max(split.validation) < max(split.test)
    assert min(split.test) < chr(0x4E00 + 2001)  # from the first tenth of the text already


def test_a_large_text_holds_out_no_more_than_is_needed():
    split = data.split_text("x" * 5_000_000)
    assert len(split.validation) == len(split.test) == 100_000


def test_rare_and_unseen_characters_become_the_unknown_token():
    vocabulary = data.build_vocabulary("aaaaabbbbb\n\n\n\n\ncccc")
    assert vocabulary.characters == ("\ufffd", "\n", "a", "b")
    assert vocabulary.encode("ab\nc\U0001f600\ufffd").tolist() == [2, 3, 1, 0, 0, 0]
    assert vocabulary.decode([2, 3, 1]) == "ab\n"


def test_a_text_of_rare_characters_only_is_an_error():
    with pytest.raises(TrainingError, match="no character is seen 5 times"):
        data.build_vocabulary("abcd")


def test_every_label_is_the_character_after_its_token():
    inputs, labels = data.streams(np.arange(24), 4)
    assert inputs.tolist() == [
        [0, 1, 2, 3, 4],
        [5, 6, 7, 8, 9],
        [10, 11, 12, 13, 14],
        [15, 16, 17, 18, 19],
    ]
    np.testing.assert_array_equal(labels, inputs + 1)
    used = data.whole_streams(np.arange(24), 4)
    assert used.tolist() == list(range(21))


def test_calibration_samples_are_consecutive_stretches():
    samples = data.calibration_samples(np.arange(50_000), layers=2, hidden=16, seed=1)
    assert samples["tokens"].shape == (256, 64)
    assert samples["tokens"].dtype == np.int64
    assert (np.diff(samples["tokens"].ravel()) == 1).all()
    assert samples["h"].shape == samples["c"].shape == (2, 256, 16)
    assert samples["h"].dtype == np.float32


def test_the_evaluation_set_is_the_test_split_in_rows():
    evaluation = data.evaluation_set(np.arange(1000))
    assert evaluation["tokens"].shape == (7, 128)
    np.testing.assert_array_equal(evaluation["labels"], evaluation["tokens"] + 1)
    assert data.evaluation_set(np.arange(100_000))["tokens"].shape == (512, 128)


def test_the_3gram_model_is_witten_bells():
    counts = ngram.count(ALPHABET.encode("abab"), len(ALPHABET))
    unigram = (2 + 2 * 1 / 4) / (4 + 2)  # b: seen twice of four, two kinds, four tokens
    bigram = (2 + 1 * unigram) / (2 + 1)  # after a: b both times
    trigram = (1 + 1 * bigram) / (1 + 1)  # after ba: b once
    assert counts.probability(2, (2, 1)) == pytest.approx(trigram)
    assert counts.probability(2, (3, 1)) == pytest.approx(bigram)
    assert counts.probability(2, (3, 3)) == pytest.approx(unigram)


@pytest.mark.parametrize("history", [(), (1,), (1, 2), (3, 1), (3, 3)])
def test_the_3gram_probabilities_sum_to_one(history):
    counts = ngram.count(ALPHABET.encode("abcabbacab"), len(ALPHABET))
    assert sum(counts.probability(token, history) for token in range(4)) == pytest.approx(1)


def test_the_3gram_loss_is_the_mean_over_every_character_after_the_first():
    counts = ngram.count(ALPHABET.encode("abcabbacab"), len(ALPHABET))
    expected = (
        -(math.log(counts.probability(2, (1,))) + math.log(counts.probability(3, (1, 2)))) / 2
    )
    assert ngram.nats_per_character(counts, ALPHABET.encode("abc")) == pytest.approx(expected)

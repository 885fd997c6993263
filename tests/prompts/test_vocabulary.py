"""A small model knows few words; a prompt that uses others is warned about, with the nearest it knows."""

from avgen_core.prompts import UnknownWord, unknown_words, warning_text

WORDS = {"a", "red", "fox", "runs", "skateboard", "board", "snow", "half-timbered", "farmer's"}


def test_known_words_give_nothing():
    assert unknown_words("A red FOX, runs! (snow)", WORDS) == []
    assert unknown_words("half-timbered farmer\u2019s 'fox'", WORDS) == []
    assert warning_text([]) == ""


def test_an_unknown_word_comes_with_the_nearest_known_ones():
    assert unknown_words("a fox runs on a hoverboard", WORDS - {"a"})[-1] == UnknownWord(
        "hoverboard", ("board", "skateboard")
    )


def test_each_word_once_in_the_order_of_the_text():
    assert [item.word for item in unknown_words("zebra, fxo, zebra", WORDS)] == ["zebra", "fxo"]


def test_other_alphabets_are_not_passed_over():
    assert unknown_words("狐 café", WORDS) == [UnknownWord("狐", ()), UnknownWord("café", ())]


def test_the_warning_names_word_and_neighbours():
    assert warning_text([UnknownWord("hoverboard", ("board", "skateboard")), UnknownWord("zzz", ())]) == (
        '"hoverboard" is not a word the embedded model knows; nearest: board, skateboard. '
        '"zzz" is not a word the embedded model knows; no known word is near it.'
    )

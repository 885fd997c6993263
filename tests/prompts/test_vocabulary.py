"""A small model knows few words; those of a prompt that it does not know are found."""

from avgen_core.prompts import unknown_words

WORDS = {"a", "red", "fox", "runs", "skateboard", "board", "snow", "half-timbered", "farmer's"}


def test_known_words_give_nothing():
    assert unknown_words("A red FOX, runs! (snow)", WORDS) == []
    assert unknown_words("half-timbered farmer\u2019s 'fox'", WORDS) == []


def test_each_word_once_in_the_order_of_the_text():
    assert unknown_words("zebra, fxo, zebra", WORDS) == ["zebra", "fxo"]


def test_other_alphabets_are_not_passed_over():
    assert unknown_words("狐 café", WORDS) == ["狐", "café"]

"""One way to write what is spoken one way."""

import pytest

from tlkit.data.spelling import cardinal, ordinal, spoken

MILLIONTH = "two million one hundred thousand first"
SAME = [
    ("You're next, aren't you?", "you are next are not you"),
    ("It's Bob's, let's GO!", "it is bobs let us go"),
    ("Press 1 or #.", "press one or pound"),
    ("Call-Forward on No-Answer", "call forward on no answer"),
    ("The 21st of 1,021", "the twenty first of one thousand twenty one"),
    ("007 is 3.5% of $20", "zero zero seven is three point five percent of twenty dollars"),
    ("[beep] Hello (laughs) <noise> world", "hello world"),
    ("Cancelled, colourful, organisation; grey", "canceled colorful organization gray"),
    ("the 1,000th endeavour, the 2,100,001st", f"the one thousandth endeavor the {MILLIONTH}"),
    ("analysed in the centre", "analyzed in the center"),
    ("can\u2019t  won't\nI'd", "can not will not i would"),
    ("naïve café Straße", "naïve café straße"),
    ("", ""),
    ("... -- !", ""),
]


@pytest.mark.parametrize(("text", "wanted"), SAME)
def test_texts_that_are_read_out_alike_are_one(text, wanted):
    assert spoken(text) == wanted
    assert spoken(wanted) == wanted, "what is brought to its form stays as it is"


def test_words_that_only_look_alike_stay():
    homophones = "four hours your flour promise exercise advise"
    assert spoken(homophones) == homophones


@pytest.mark.parametrize(
    ("digits", "wanted"),
    [
        *(("0", "zero"), ("15", "fifteen"), ("40", "forty"), ("99", "ninety nine"), ("100", "one hundred")),
        *(("110", "one hundred ten"), ("12345", "twelve thousand three hundred forty five")),
        *(("1000000", "one million"), ("1" * 13, " ".join(["one"] * 13))),
    ],
)
def test_numbers(digits, wanted):
    assert cardinal(digits) == wanted


def test_places():
    assert [ordinal(n) for n in (1, 2, 3, 5, 8, 9, 12, 20, 22, 100)] == [
        *("first", "second", "third", "fifth", "eighth", "ninth", "twelfth", "twentieth", "twenty second"),
        "one hundredth",
    ]

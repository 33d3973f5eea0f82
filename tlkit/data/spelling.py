"""English texts as their words are counted: one way to write what is spoken one way.

What is read out alike should count alike, whoever wrote it down: capitals, punctuation, numbers, contractions and
British spellings are brought to one form. What a number is read as depends on what it counts, so years and telephone
numbers stay ambiguous: "1985" becomes "one thousand nine hundred eighty five".
"""

from __future__ import annotations

import re
import unicodedata

_ONES = (
    *("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve"),
    *("thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen"),
)
_TENS = ("", "", "twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety")
_SCALES = ((10**9, "billion"), (10**6, "million"), (10**3, "thousand"), (100, "hundred"))
_ORDINALS = {
    **{"one": "first", "two": "second", "three": "third", "five": "fifth", "eight": "eighth", "nine": "ninth"},
    "twelve": "twelfth",
}
_MOST_DIGITS = 12  # longer numbers are read digit by digit
_SYMBOLS = {
    **{"%": "percent", "&": "and", "@": "at", "+": "plus", "=": "equals", "$": "dollars", "€": "euros"},
    **{"£": "pounds", "#": "pound", "*": "star", "°": "degrees"},
}
_IRREGULAR = {
    **{"can't": "can not", "cannot": "can not", "won't": "will not", "shan't": "shall not", "let's": "let us"},
    **{"ain't": "is not", "o'clock": "oclock", "gonna": "going to", "wanna": "want to", "gotta": "got to"},
}
_ENDINGS = {"n't": "not", "'re": "are", "'ll": "will", "'ve": "have", "'m": "am", "'d": "would"}
_IS = {"it", "that", "what", "where", "there", "here", "he", "she", "who", "how", "when"}  # whose 's is a verb
_AMERICAN = {
    **{"centre": "center", "theatre": "theater", "metre": "meter", "litre": "liter", "fibre": "fiber"},
    **{"grey": "gray", "cheque": "check", "tyre": "tire", "programme": "program", "catalogue": "catalog"},
    **{"dialogue": "dialog", "defence": "defense", "offence": "offense", "licence": "license", "practise": "practice"},
    **{"jewellery": "jewelry", "aluminium": "aluminum", "ageing": "aging", "okay": "ok", "alright": "all right"},
}
_OUR = ("col", "fav", "hon", "lab", "neighb", "behavi", "hum", "rum", "harb", "od", "vig", "sav", "vap", "endeav")
_ISE = (
    "organ",
    "real",
    "recogn",
    "apolog",
    "author",
    "minim",
    "maxim",
    "summar",
    "symbol",
    "normal",
    "initial",
    "custom",
)
_DOUBLED = ("cance", "trave", "labe", "mode", "signa", "fue", "leve", "dia", "counse", "marve")
_PATTERNS = (
    (re.compile(rf"\b({'|'.join(_OUR)})our"), r"\1or"),
    (re.compile(rf"\b((?:un|re|dis)?(?:{'|'.join(_ISE)}))is(e|es|ed|ing|er|ers|ation|ations)\b"), r"\1iz\2"),
    (re.compile(r"\b((?:re|un)?(?:anal|paral))ys(e|ed|es|ing)\b"), r"\1yz\2"),
    (re.compile(rf"\b({'|'.join(_DOUBLED)})ll(ed|ing|er|ers)\b"), r"\1l\2"),
)
_BRACKETS = re.compile(r"\[[^\]]*\]|\([^)]*\)|<[^>]*>")
_NUMBER = re.compile(r"\d+(?:,\d{3})+(?!\d)|\d+")
_ORDINAL = re.compile(r"\b(\d{1,3}(?:,\d{3})+|\d+)(?:st|nd|rd|th)\b")
_DECIMAL = re.compile(r"(?<=\d)\.(?=\d)")
_MONEY = re.compile(r"([$€£])\s?(\d[\d,.]*\d|\d)")
_WORD = re.compile(r"[^\W_]+(?:'[^\W_]+)*")


def spoken(text: str) -> str:
    """A text as its words are compared: lower case, no punctuation, numbers in words, single blanks.

    What stands in brackets is left out, as people write there what is no speech. Contractions are written out
    ("you're" is "you are"), British spellings become American, signs become their names ("#" is "pound", as on
    telephones), hyphens part words, and other apostrophes are dropped.

    Example:
        >>> spoken("You're in line no. 21; press #, or call the centre [beep].")
        'you are in line no twenty one press pound or call the center'

    Source: the idea, not the rules, of Radford et al. 2022, arXiv:2212.04356, appendix C.
    """
    line = unicodedata.normalize("NFKC", text).lower().replace("’", "'").replace("‘", "'")
    line = _MONEY.sub(r"\2 \1", _BRACKETS.sub(" ", line))
    line = _ORDINAL.sub(lambda match: f" {ordinal(int(match[1].replace(',', '')))} ", line)
    line = _NUMBER.sub(lambda match: f" {cardinal(match[0])} ", _DECIMAL.sub(" point ", line))
    for symbol, word in _SYMBOLS.items():
        line = line.replace(symbol, f" {word} ")
    line = " ".join(_written_out(word) for word in _WORD.findall(line))
    for pattern, replacement in _PATTERNS:
        line = pattern.sub(replacement, line)
    return " ".join(_AMERICAN.get(word, word) for word in line.replace("'", "").split())


def words(text: str) -> list[str]:
    """The words of a text as they are compared.

    Example:
        >>> words("It's 1st.")
        ['it', 'is', 'first']
    """
    return spoken(text).split()


def cardinal(digits: str) -> str:
    """A whole number as it is read; one with a leading 0, or of more than 12 digits, digit by digit.

    Example:
        >>> cardinal("1,021"), cardinal("007")
        ('one thousand twenty one', 'zero zero seven')
    """
    plain = digits.replace(",", "")
    if len(plain) > _MOST_DIGITS or (plain.startswith("0") and len(plain) > 1):
        return " ".join(_ONES[int(digit)] for digit in plain)
    return _named(int(plain))


def ordinal(number: int) -> str:
    """The place that a number names.

    Example:
        >>> ordinal(21), ordinal(30)
        ('twenty first', 'thirtieth')
    """
    *before, last = cardinal(str(number)).split()
    ending = _ORDINALS.get(last) or (f"{last[:-1]}ieth" if last.endswith("y") else f"{last}th")
    return " ".join([*before, ending])


def _named(number: int) -> str:
    if number < len(_ONES):
        return _ONES[number]
    if number < 100:
        return " ".join([_TENS[number // 10], *([_ONES[number % 10]] if number % 10 else [])])
    size, name = next(scale for scale in _SCALES if number >= scale[0])
    remainder = number % size
    return " ".join([_named(number // size), name, *([_named(remainder)] if remainder else [])])


def _written_out(word: str) -> str:
    if word in _IRREGULAR:
        return _IRREGULAR[word]
    for ending, meant in _ENDINGS.items():
        if word.endswith(ending) and len(word) > len(ending):
            return f"{word[: -len(ending)]} {meant}"
    stem = word.removesuffix("'s")
    return f"{stem} is" if stem != word and stem in _IS else word

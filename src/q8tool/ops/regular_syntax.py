"""The syntax of regular expressions that the standard names: RE2's.

    "a(b|c)*" --parsed--> Node: letters, alternatives and repetitions, for regular_expression.py

What a whole text is to match needs no groups and no preference, so (?:...), named groups and lazy
repetition mean the same as their plain forms. Syntax: github.com/google/re2/wiki/Syntax. Scripts
(\\p{Greek}) are not known here; general categories (\\pL, \\p{Lu}) are.
"""

import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import dataclass

__all__ = ["Alternatives", "Chain", "Letter", "Node", "Place", "Repetition", "parsed"]

MOST_REPETITIONS = 1000
"""In {n,m}, as in RE2."""

Test = Callable[[str], bool]


@dataclass(frozen=True)
class Letter:
    """One letter that passes the test."""

    test: Test


@dataclass(frozen=True)
class Place:
    """A place between letters, by what stands before and behind; None: nothing."""

    test: Callable[[str | None, str | None], bool]


@dataclass(frozen=True)
class Chain:
    """One after the other."""

    items: "Sequence[Node]"


@dataclass(frozen=True)
class Alternatives:
    """One of several."""

    items: "Sequence[Node]"


@dataclass(frozen=True)
class Repetition:
    """From least to most times; None: any number."""

    item: "Node"
    least: int
    most: int | None


Node = Letter | Place | Chain | Alternatives | Repetition


def parsed(pattern: str) -> Node:
    """The tree of a pattern. Raises ValueError for what is not RE2's syntax, or not known here."""
    parser = _Parser(pattern)
    node = parser.alternatives()
    if parser.at < len(pattern):
        raise parser.wrong("an unopened )")
    return node


# ---- sets of letters ----


def _is(letter: str) -> Test:
    return lambda other: other == letter


def _is_digit(letter: str) -> bool:
    return "0" <= letter <= "9"


def _is_space(letter: str) -> bool:
    return letter in "\t\n\f\r "


def _is_word(letter: str) -> bool:
    return letter == "_" or (letter.isascii() and letter.isalnum())


def _not(test: Test) -> Test:
    return lambda letter: not test(letter)


def _any_of(tests: Sequence[Test]) -> Test:
    return lambda letter: any(test(letter) for test in tests)


def _between(low: str, high: str) -> Test:
    return lambda letter: low <= letter <= high


def _folded(test: Test) -> Test:
    """The same, whatever the case."""
    return lambda letter: test(letter) or test(letter.lower()) or test(letter.upper())


def _category(name: str) -> Test:
    return lambda letter: unicodedata.category(letter).startswith(name)


_CATEGORIES = {
    "C", "Cc", "Cf", "Co", "Cs", "L", "Ll", "Lm", "Lo", "Lt", "Lu", "M", "Mc", "Me", "Mn", "N",
    "Nd", "Nl", "No", "P", "Pc", "Pd", "Pe", "Pf", "Pi", "Po", "Ps", "S", "Sc", "Sk", "Sm", "So",
    "Z", "Zl", "Zp", "Zs",
}  # fmt: skip
_PERL = {"d": _is_digit, "s": _is_space, "w": _is_word}
_POSIX: dict[str, Test] = {
    "alnum": lambda c: c.isascii() and c.isalnum(), "alpha": lambda c: c.isascii() and c.isalpha(),
    "ascii": str.isascii, "blank": lambda c: c in "\t ", "cntrl": lambda c: c < " " or c == "\x7f",
    "digit": _is_digit, "graph": _between("!", "~"), "lower": _between("a", "z"),
    "print": _between(" ", "~"), "punct": lambda c: "!" <= c <= "~" and not c.isalnum(),
    "space": lambda c: c in "\t\n\v\f\r ", "upper": _between("A", "Z"), "word": _is_word,
    "xdigit": lambda c: c in "0123456789abcdefABCDEF",
}  # fmt: skip
_CONTROLS = {"a": "\a", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v"}

# ---- places ----


def _is_border(before: str | None, behind: str | None) -> bool:
    return (before is not None and _is_word(before)) != (behind is not None and _is_word(behind))


_BEGIN = Place(lambda before, _: before is None)
_END = Place(lambda _, behind: behind is None)
_LINE_BEGIN = Place(lambda before, _: before in (None, "\n"))
_LINE_END = Place(lambda _, behind: behind in (None, "\n"))
_PLACES = {
    "A": _BEGIN, "z": _END, "b": Place(_is_border), "B": Place(lambda *ends: not _is_border(*ends))
}  # fmt: skip


class _Parser:
    """Walks the pattern from left to right; flags hold until the group ends."""

    def __init__(self, pattern: str) -> None:
        self.pattern, self.at = pattern, 0
        self._flags: frozenset[str] = frozenset()

    def wrong(self, what: str) -> ValueError:
        return ValueError(f"the pattern {self.pattern!r} has {what} at letter {self.at}")

    def alternatives(self) -> Node:
        """Up to the end of the group, or of the pattern."""
        found = [self._sequence()]
        while self._took("|"):
            found.append(self._sequence())
        return found[0] if len(found) == 1 else Alternatives(found)

    def _took(self, text: str) -> bool:
        is_there = self.pattern.startswith(text, self.at)
        self.at += len(text) if is_there else 0
        return is_there

    def _next(self) -> str:
        if self.at >= len(self.pattern):
            raise self.wrong("no end")
        self.at += 1
        return self.pattern[self.at - 1]

    def _until(self, end: str) -> str:
        stop = self.pattern.find(end, self.at)
        if stop < 0:
            raise self.wrong(f"no {end}")
        text, self.at = self.pattern[self.at : stop], stop + len(end)
        return text

    def _sequence(self) -> Node:
        items: list[Node] = []
        while self.at < len(self.pattern) and self.pattern[self.at] not in "|)":
            if self._took("\\Q"):
                text, found, _ = self.pattern[self.at :].partition("\\E")
                self.at += len(text) + len(found)
                items += [self._letter(letter) for letter in text]
                items += [self._repeated(items.pop())] if text else []
            else:
                items.append(self._repeated(self._item()))
        return Chain(items)

    def _repeated(self, item: Node) -> Node:
        times = self._times()
        if times is None:
            return item
        self._took("?")
        if self._times() is not None:
            raise self.wrong("a repetition of a repetition")
        return Repetition(item, *times)

    def _times(self) -> tuple[int, int | None] | None:
        for sign, times in (("*", (0, None)), ("+", (1, None)), ("?", (0, 1))):
            if self._took(sign):
                return times
        inside, brace, _ = self.pattern[self.at + 1 :].partition("}")
        low, comma, high = inside.partition(",")
        is_count = low.isdecimal() and (not high or high.isdecimal())
        if self.pattern[self.at : self.at + 1] != "{" or not brace or not is_count:
            return None
        self.at += len(inside) + 2
        least, most = int(low[:9]), int(high[:9]) if high else None if comma else int(low[:9])
        if max(least, most or 0) > MOST_REPETITIONS or (most is not None and most < least):
            raise self.wrong(f"a repetition {{{inside}}}")
        return least, most

    def _item(self) -> Node:
        letter = self._next()
        if letter == "(":
            return self._group()
        if letter == "[":
            return self._tested(self._class())
        if letter == ".":
            return Letter(lambda _: True) if "s" in self._flags else Letter(lambda c: c != "\n")
        if letter == "^":
            return _LINE_BEGIN if "m" in self._flags else _BEGIN
        if letter == "$":
            return _LINE_END if "m" in self._flags else _END
        if letter in "*+?":
            raise self.wrong("nothing to repeat")
        if letter == "\\":
            if self.pattern[self.at : self.at + 1] in _PLACES:
                return _PLACES[self._next()]
            return self._tested(self._escaped())
        return self._letter(letter)

    def _letter(self, letter: str) -> Letter:
        return self._tested(_is(letter))

    def _tested(self, test: Test) -> Letter:
        return Letter(_folded(test) if "i" in self._flags else test)

    def _group(self) -> Node:
        before = self._flags
        if self._took("?P<") or self._took("?<"):
            if not self._until(">").isidentifier():
                raise self.wrong("a group of a strange name")
        elif self._took("?") and not self._took_flags():
            return Chain(())  # for the rest of the group around
        node = self.alternatives()
        if not self._took(")"):
            raise self.wrong("an open (")
        self._flags = before
        return node

    def _took_flags(self) -> bool:
        """Whether a group follows for which alone the flags are."""
        on, off, adds = set(self._flags), False, True
        while (letter := self._next()) not in ":)":
            if letter == "-" and not off:
                off, adds = True, False
            elif letter not in "imsU":
                raise self.wrong("an unknown flag")
            elif adds:
                on.add(letter)
            else:
                on.discard(letter)
        self._flags = frozenset(on)
        return letter == ":"

    def _class(self) -> Test:
        is_negated = self._took("^")
        tests = [_is("]")] if self._took("]") else []  # a set is never empty
        while not self._took("]"):
            tests.append(self._class_item())
        test = _any_of([_folded(test) if "i" in self._flags else test for test in tests])
        return _not(test) if is_negated else test

    def _class_item(self) -> Test:
        if self._took("[:"):
            name = self._until(":]")
            if name.removeprefix("^") not in _POSIX:
                raise self.wrong("an unknown class")
            test = _POSIX[name.removeprefix("^")]
            return _not(test) if name.startswith("^") else test
        letter = self._next()
        if letter == "\\":
            low = self._escaped_letter()
            if low is None:
                return self._escaped()
        else:
            low = letter
        if self.pattern[self.at : self.at + 1] != "-" or self.pattern[self.at + 1 :][:1] in (
            "]",
            "",
        ):
            return _is(low)
        self._next()
        high: str | None = self._next()
        high = self._escaped_letter() if high == "\\" else high
        if high is None or high < low:
            raise self.wrong("a range that ends before it begins")
        return _between(low, high)

    def _escaped(self) -> Test:
        """What stands behind a backslash, as a test."""
        letter = self._escaped_letter()
        if letter is not None:
            return _is(letter)
        kind = self._next()
        if kind in "pP":
            name = self._next()
            name = self._until("}") if name == "{" else name
            is_negated = (kind == "P") != name.startswith("^")
            if name.removeprefix("^") not in _CATEGORIES:
                raise self.wrong("an unknown category")
            test = _category(name.removeprefix("^"))
        elif kind.lower() in _PERL:
            test, is_negated = _PERL[kind.lower()], kind.isupper()
        else:
            raise self.wrong("an unknown escape")
        return _not(test) if is_negated else test

    def _escaped_letter(self) -> str | None:
        """The letter that an escape stands for; None, and nothing read, if it is a set."""
        kind = self._next()
        if kind in _CONTROLS:
            return _CONTROLS[kind]
        if kind == "x":
            digits = self._until("}") if self._took("{") else self._next() + self._next()
            return self._numbered(digits, 16)
        if kind in "01234567":
            digits = kind
            while len(digits) < 3 and self.pattern[self.at : self.at + 1] in tuple("01234567"):
                digits += self._next()
            if kind != "0" and len(digits) < 3:
                raise self.wrong("a reference to a group")
            return self._numbered(digits, 8)
        if not (kind.isascii() and kind.isalnum()):
            return kind
        self.at -= 1
        return None

    def _numbered(self, digits: str, base: int) -> str:
        try:
            return chr(int(digits[:9], base))
        except (ValueError, OverflowError):
            raise self.wrong("a letter of a strange number") from None

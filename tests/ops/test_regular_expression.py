"""RegexFullMatch: the answers of RE2 (onnxruntime has it inside), and in time for any pattern."""

import re
import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from q8tool.errors import InputError
from q8tool.ops.host import HostOperator
from q8tool.ops.regular_expression import Matcher
from tests.build import model_of, node, run_onnxruntime

TEXTS = [
    "", "a", "b", "ab", "aab", "abab", "A", "aB", "a.b", "a\nb", "\n", "a b", "a_1", "12", "1234",
    "]", "-", "^", "ä", "Ä", "é1", "a{,2}", "foo bar", "x@y.com", "AB", "\t", "{", "ss", "٣", "¼",
]  # fmt: skip
PATTERNS = [
    "", "a", "a*", "a+b", "(a|b)*", "(ab)+", "a?b??", "a{2}b", "a{1,}b*", "a{0,3}b?", "a{,2}", "{",
    ".", ".*", "(?s).*", "(?s:.)b?", "a.b", "a\\.b", "[ab]+", "[^ab]+", "[]]", "[^]a]", "[a-]",
    "[-a]", "[a-c.]+", "[\\w.]+@\\w+\\.com", "\\d+", "\\D+", "\\w+", "\\W+", "a\\sb", "\\S+",
    "[\\d\\s]+",
    "[[:alpha:]]+", "[[:^alpha:]]+", "[[:punct:]]+", "[[:word:]]+", "\\pL+", "\\p{Lu}", "\\PN+",
    "\\p{^L}+", "\\pN", "(?i)ab?", "(?i:a)B", "(?i)ä", "(?i)[a-b]+", "a(?i)b", "(a(?i)b)|B", "^ab$",
    "\\Aab\\z", "a\\nb", "(?m)a$\\nb", "a$\\nb", "a$b", "\\bfoo\\b.*", "f\\Boo.*", "\\x41\\x{42}",
    "\\Qa.b\\E", "\\Qa.\\Eb", "(?P<n>a)b", "(?:a|)b", "a||b", "()", "(a+)+b", "\\101B",
    "[\\x41-\\x42]+", "(?U)a+b", "(?i-s)A.b", "\\t", "\\^",
]  # fmt: skip
WRONG = [
    "(", ")", "a)", "[", "[]", "[b-a]", "*", "a**", "a{2}{3}", "\\", "(?=a)", "(a)\\1", "\\k",
    "a{1001}", "a{3,2}", "[[:no:]]", "\\p{No such}", "(?P<a", "(?x)a", "\\x{110000}",
    "((a{100}){100}){100}",
]  # fmt: skip


@pytest.mark.parametrize("pattern", PATTERNS)
def test_the_answers_of_re2(pattern: str) -> None:
    inputs = {"x": np.array(TEXTS, object)}
    item = node("RegexFullMatch", "x", "y", pattern=pattern)
    (expected,) = run_onnxruntime(model_of([item], inputs, {}, ["y"], 20), inputs)
    (got,) = HostOperator(item, ["x"], {"": 20}).run([inputs["x"]])
    assert dict(zip(TEXTS, got, strict=True)) == dict(zip(TEXTS, expected, strict=True))


@pytest.mark.parametrize("pattern", WRONG)
def test_what_is_no_pattern_is_refused(pattern: str) -> None:
    with pytest.raises(ValueError, match="pattern"):
        Matcher(pattern)
    operator = HostOperator(node("RegexFullMatch", "x", "y", pattern=pattern), ["x"], {"": 20})
    with pytest.raises(InputError, match="pattern"):
        operator.run([np.array(["a"], object)])


pieces = st.recursive(
    st.sampled_from(["a", "b", ".", "[ab]", "[^a]", "", "^", "$", "\\b"]),
    lambda inner: st.one_of(
        st.tuples(inner, inner).map("".join),
        st.tuples(inner, inner).map(lambda both: f"(?:{both[0]}|{both[1]})"),
        st.tuples(inner, st.sampled_from(["*", "+", "?", "{2}", "{0,2}", "{1,}"])).map(
            lambda both: f"(?:{both[0]}){both[1]}"
        ),
    ),
    max_leaves=6,
)


@given(pattern=pieces, texts=st.lists(st.text("abc", max_size=6), min_size=1, max_size=5))
def test_the_answers_of_python(pattern: str, texts: list[str]) -> None:
    matcher = Matcher(pattern)
    for text in texts:
        assert matcher.matches(text) == (re.fullmatch(pattern, text) is not None), (pattern, text)


@pytest.mark.parametrize(
    ("pattern", "text"),
    [("(a+)+", "a" * 5000 + "b"), ("(a|a)*", "a" * 5000 + "b"), ("(a*)*b", "a" * 5000),
     ("a?" * 200 + "a" * 200, "a" * 200), ("(.*)*(.*)*x", "y" * 5000)],
)  # fmt: skip
def test_patterns_that_backtracking_never_ends(pattern: str, text: str) -> None:
    started = time.thread_time()
    matched = Matcher(pattern).matches(text)
    assert matched == pattern.startswith("a?")
    assert time.thread_time() - started < 5

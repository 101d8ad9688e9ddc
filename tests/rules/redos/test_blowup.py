import pytest

from app.rules.gate import case_texts
from app.rules.redos import PATTERN_STEPS, examine
from app.rules.redos.backtrack import Matcher
from app.rules.redos.js_parser import parse_js, to_units, wants_unicode
from app.rules.regexes import split_flags
from app.rules.rule import conditions
from tests.node import in_node
from tests.rules.conftest import Doc

MATCHES = """
return given.map(([pattern, flags, texts]) => {
  const compiled = new RegExp(pattern, flags);
  return texts.map((text) => compiled.test(text));
});
"""

HANGING = [
    *(
        "(a+)+$",
        "(a|a)*b",
        "(.*a){20}",
        r"^(\w+\s?)*$",
        r"(x+x+)+y",
        r"([a-z]+)*\d",
        r"(\d+|\w+)*!",
        "(.|\\s)*x",
    ),
    *(
        r"(?:\w+\s*)+:",
        r"^(?:(?:a|aa)+)$",
        r"^(([a-z])+.)+[A-Z]([a-z])+$",
        "(?:.*,){11}P",
        r"(a{1,50}){1,50}$",
    ),
    *(
        r"<(\s*\w+\s*=\s*\"[^\"]*\"\s*)*>",
        r"(\w*){5}x",
        r"\s*\s*\s*\s*\s*\s*\s*x",
        "(?:a?b?)*c",
        "(?:foo|fo+)+$",
    ),
    *("(?=(a+)+b)", "(?<=(a+)+)b", "(?<=foo)(a+)+$", "^(?=.*x)(a+)+$", "^([^x]+)*$", "(?:[a-m]+|[h-z]+)+$"),
    *(
        "(a?){30}a{30}",
        "a?" * 30 + "a" * 30,
        "(.*foo){18}",
        "(?:[a-m]|[0m-z])+$",
        r"(\S*ab){20}",
        r"(\u{61}+)+$",
    ),
]

HARMLESS = [
    *(
        "abc",
        "",
        "a+b",
        "a.*b.*c.*d.*e",
        r"(?:\w+\s+)*x",
        r"(\w+\s+){40,}x",
        ".*.*x",
        r"(?:a|b)+c",
        "(?:ab)*c",
        "(a+)b",
    ),
    *(r"\bsend\s+(?:me\s+)?the\s+key\b", r"(?!x)\S{5,80}@\S+", r"^[^\n]{0,200}$", r"(\w)\1{3,}"),
]


@pytest.mark.parametrize("pattern", HANGING)
def test_patterns_that_hang_are_found(pattern: str) -> None:
    found = examine(pattern)
    assert found.hangs
    assert found.text
    assert found.steps_spent <= PATTERN_STEPS + 700_000


@pytest.mark.parametrize("pattern", HARMLESS)
def test_patterns_that_do_not_hang_are_accepted(pattern: str) -> None:
    found = examine(pattern)
    assert not found.hangs
    assert found.complete


def test_two_published_rules_hang(published_docs: dict[str, Doc]) -> None:
    for rule_id, index in (("ATR-2026-01005", 0), ("ATR-2026-00282", 4)):
        assert examine(split_flags(conditions(published_docs[rule_id])[index].pattern)[1]).hangs


def test_the_reported_text_grows_exponentially_in_node() -> None:
    """The proof that counted steps are V8's steps: three more rounds multiply its time."""
    timed = """
    const test = (n) => {
      const begun = process.hrtime.bigint();
      new RegExp('(?:\\\\s*>\\\\s*)+x').test(' > '.repeat(n) + '!');
      return Number(process.hrtime.bigint() - begun);
    };
    test(8);
    return [test(10), test(13)];
    """
    few, more = in_node(timed, None)
    assert more > 4 * few


def test_a_pattern_too_large_to_examine_is_not_called_harmless() -> None:
    found = examine("|".join(f"x{n}[a-z]*[a-y]*[a-x]*[a-w]*!" for n in range(120)), allowance=50_000)
    assert not found.complete


def test_the_matcher_agrees_with_node_on_the_rules_own_cases(published_docs: dict[str, Doc]) -> None:
    asked = []
    for doc in list(published_docs.values())[::4]:
        cases = [*doc["test_cases"]["true_positives"], *doc["test_cases"]["true_negatives"]]
        texts = [text.lower() for case in cases for text in case_texts(case).values() if len(text) < 200]
        for condition in conditions(doc):
            body = split_flags(condition.pattern)[1]
            asked.append((body, "iu" if wants_unicode(body) else "i", texts))
    compared = 0
    for (body, flags, texts), answers in zip(asked, in_node(MATCHES, asked), strict=True):
        matcher = Matcher(parse_js(body, unicode="u" in flags))
        for text, answer in zip(texts, answers, strict=True):
            assert matcher.matches(text if "u" in flags else to_units(text), 5_000_000) == answer, (
                body,
                text,
            )
            compared += 1
    assert compared > 5_000


@pytest.mark.parametrize(
    ("pattern", "text", "matches"),
    [
        (r"(\w+) \1", "ab ab", True),
        (r"(\w+) \1$", "ab ac", False),
        (r"(a)?\1b", "b", True),
        (r"^(?:a*)*$", "aab", False),
        (r"^(?:a*?){3}$", "aaa", True),
        (r"(?<=ab)c", "abc", True),
        (r"(?<!ab)c", "abc", False),
        (r"^(?:ab){2,3}?$", "ababab", True),
        (r"^(?:ab){2,3}$", "abababab", False),
        (r"\Ba\B", "bab", True),
        (r"[^]", "\n", True),
        ("[]", "a", False),
        (r"[^\W_]", "_", False),
        ("(?:)+x", "x", True),
        (r"^\S+$", "a b", False),
    ],
)
def test_the_matcher_matches_as_javascript_does(pattern: str, text: str, matches: bool) -> None:
    assert Matcher(parse_js(pattern, unicode=False)).matches(text, 10_000) is matches
    assert in_node(MATCHES, [(pattern, "i", [text])]) == [[matches]]

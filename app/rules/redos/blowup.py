"""Find patterns that hang a backtracking engine, as every Guard's is.

The steps of a backtracking search (`backtrack`) are counted on growing attack texts (`attack`) and extrapolated: a
pattern that would need more than `HANG_STEPS` on `HANG_CHARS` repeated characters blows up, be it exponential or a
polynomial of high degree. No clock is read and no engine is run, so the verdict is the same on every machine and
the time it takes is bounded by `PATTERN_STEPS`.

Measured on the 3,353 published conditions: all but two stay below 10^9.5 by this estimate. Those two,
ATR-2026-01005#0 (16 s for 180 characters in V8) and ATR-2026-00282#4, and textbook exponentials exceed 10^10.
"""

import math

import msgspec

from app.rules.redos.attack import Attack, attacks, ends
from app.rules.redos.backtrack import Matcher
from app.rules.redos.js_parser import parse_js, wants_unicode

HANG_STEPS = 1e10
"""Steps that count as a hang: over a minute in V8."""

HANG_CHARS = 400
"""Repeated characters in the text the estimate is for."""

PATTERN_STEPS = 1_500_000
"""Steps spent on examining one pattern, at most (about 0.4 s)."""

_PROBE_STEPS = 40_000
_CLOSER_STEPS = 640_000
_STEEP = 3.8  # no published pattern rises like a polynomial of this degree for long
_GROWTH = 1.25
_FEW_CHARS, _MANY_CHARS = 18, 64
_CALM = 1_500  # steps that need no further attention
_HARMLESS = HANG_STEPS / 100


class Examination(msgspec.Struct, frozen=True):
    """The result of examining a pattern.

    `steps_expected` is the worst estimate for `HANG_CHARS` and `text` an attack that showed it ("" if none did).
    Not `complete`: the pattern has more repetitions than could be examined within the allowance.
    """

    steps_expected: float
    text: str
    steps_spent: int
    complete: bool

    @property
    def hangs(self) -> bool:
        """True when the pattern blows up."""
        return self.steps_expected > HANG_STEPS


def examine(pattern: str, allowance: int = PATTERN_STEPS) -> Examination:
    """Attack a pattern (leading flags taken off) until it hangs, all attacks are tried, or `allowance` is spent.

    Every attack is probed first; those that cost many steps are then followed, the worst first. Raises
    `PatternSyntaxError` when the pattern is not valid in JavaScript.
    """
    tree = parse_js(pattern, unicode=wants_unicode(pattern))
    return _Examiner(Matcher(tree), allowance).run(attacks(tree), ends(tree))


class _Examiner:
    """One pattern under attack: the steps spent so far and the worst estimate."""

    def __init__(self, matcher: Matcher, allowance: int) -> None:
        self.matcher = matcher
        self.allowance = allowance
        self.spent = 0
        self.worst = 0.0
        self.text = ""

    def run(self, tried: tuple[Attack, ...], tails: tuple[str, ...]) -> Examination:
        """Try the attacks; see `examine`."""
        suspects: list[tuple[float, Attack, str]] = []
        for attack in tried:
            if self.spent > self.allowance:
                break
            suspects += [(slope, attack, end) for end in tails if (slope := self._probe(attack, end))]
        complete = self.spent <= self.allowance
        for _, attack, end in sorted(suspects, key=lambda suspect: -suspect[0]):
            if self.worst > HANG_STEPS or self.spent > self.allowance:
                break
            self._climb(attack, end)
        return Examination(self.worst, self.text, self.spent, complete)

    def _steps(self, text: str, limit: int = _PROBE_STEPS) -> int:
        steps = self.matcher.steps(text, limit)
        self.spent += steps
        return steps

    def _probe(self, attack: Attack, end: str) -> float:
        """Return how steeply the steps of a suspicious attack rise, or 0 when it looks harmless."""
        few = max(2, _FEW_CHARS // len(attack.pump))
        steps = self._steps(attack.text(few, end))
        if steps > _PROBE_STEPS:
            return math.inf
        if not end and steps < _CALM:
            return 0.0
        many = max(4, _MANY_CHARS // len(attack.pump))
        more = self._steps(attack.text(many, end))
        slope = math.log(more / steps) / math.log(many / few)
        if more > _PROBE_STEPS or slope > _STEEP:
            return slope
        return slope if more * (HANG_CHARS / (many * len(attack.pump))) ** slope > _HARMLESS else 0.0

    def _climb(self, attack: Attack, end: str) -> None:
        """Follow the steps over growing texts, and extrapolate each rise to `HANG_CHARS` as a power law."""
        limit = _PROBE_STEPS
        before, rounds = (0, 0), 1
        while rounds * len(attack.pump) <= HANG_CHARS and self.spent <= self.allowance:
            text = attack.text(rounds, end)
            steps = self._steps(text, limit)
            slope = math.log(steps / before[1]) / math.log(rounds / before[0]) if before[0] else 0.0
            if steps > _CALM:
                expected = steps * (HANG_CHARS / (rounds * len(attack.pump))) ** slope
                if expected > self.worst:
                    self.worst, self.text = expected, text
            if self.worst > HANG_STEPS:
                return
            if steps > limit:
                if limit == _CLOSER_STEPS or slope < _STEEP:
                    return
                limit = _CLOSER_STEPS
                continue
            before = (rounds, steps)
            rounds = max(rounds + 1, int(rounds * _GROWTH))

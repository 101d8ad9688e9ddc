"""Commands that had another name: the old one still works, is in no help, and says which one is right now."""

from collections.abc import Sequence

RENAMED = {
    "rules": "rule",
    "promote": "promotion run",
    "proposal why": "proposal explain",
    "proposal text": "proposal set-text",
    "upstream status": "upstream show",
    "upstream sync": "upstream pull",
    "upstream held": "upstream list-pending",
    "upstream refuse": "upstream reject",
    "upstream set-aside": "upstream list-set-aside",
    "upstream versions": "upstream list-versions",
    "publication release": "publication resume",
    "feedback settle": "feedback dismiss",
    "intel threats": "threat list",
    "intel blacklist": "skill-blacklist",
    "intel whitelist": "skill-whitelist",
    "intel indicator": "indicator",
    "intel export": "subject export",
    "intel erase": "subject erase",
}
"""First words of a command, old -> new."""
GONE = frozenset({"intel"})
"""Groups none of whose commands kept its name."""
WITH_RULE = {"upstream held": "upstream show-pending"}
"""Old commands that showed one thing when a second operand named it: that is a command of its own now."""
_TAKE_A_VALUE = frozenset({"--config"})


def current_words(words: Sequence[str]) -> tuple[str, str, list[str]] | None:
    """Return the old name that `words` begin with, the new one, and the words after it; None for a current name."""
    for old, new in RENAMED.items():
        size = len(old.split())
        if old == " ".join(words[:size]):
            rest = list(words[size:])
            return old, WITH_RULE.get(old, new) if len(_operands(rest)) > 1 else new, rest
    return None


def divided(word: str) -> str:
    """Return a line for each old command of a group that exists no more, empty for any other word."""
    return "\n".join(
        f"  {old} is {new}" for old, new in RENAMED.items() if old.startswith(f"{word} ") and word in GONE
    )


def _operands(words: Sequence[str]) -> list[str]:
    """Return the words that are neither options nor values of options."""
    pairs = zip(["", *words], words, strict=False)
    return [word for before, word in pairs if not word.startswith("-") and before not in _TAKE_A_VALUE]

"""Entries that only a hostile or broken upstream sends."""

from typing import Any

from tests.example_rules import rule_text

STOLEN_ID = "ATR-2026-00001"

ALIAS_BOMB = "title: bomb\nid: ATR-2026-66601\na0: &a0 [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"a{level}: &a{level} [{', '.join([f'*a{level - 1}'] * 9)}]\n" for level in range(1, 9)
)
DUPLICATE_KEY = rule_text("ATR-2026-66602") + "severity: low\n"
ID_OF_ANOTHER = rule_text(STOLEN_ID, title="Takes the id of another rule")
TOO_LONG = rule_text("ATR-2026-66603") + "# " + "x" * 70_000 + "\n"

HOSTILE_ENTRIES: list[Any] = [
    {"ruleId": "ATR-2026-66601", "ruleContent": ALIAS_BOMB},
    {"ruleId": "ATR-2026-66602", "ruleContent": DUPLICATE_KEY},
    {"ruleId": "ATR-2026-66603", "ruleContent": TOO_LONG},
    {"ruleId": "ATR-2026-66604", "ruleContent": ID_OF_ANOTHER},
    {"ruleId": "ATR-2026-66605", "ruleContent": {"title": "an object"}},
    {"ruleId": "ATR-2026-66606\n", "ruleContent": rule_text("ATR-2026-66606")},
    {"ruleContent": rule_text("ATR-2026-66607")},
    "not an object",
]

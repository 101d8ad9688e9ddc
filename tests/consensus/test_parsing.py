"""What a submitted text is: a rule, a draft, or nothing to keep."""

import asyncio
from pathlib import Path

import pytest

from app.consensus.errors import UnusableText
from app.consensus.parsing import RuleParser, parse_text
from app.sandbox import Sandbox
from tests.consensus.harness import DRAFT
from tests.example_rules import short_rule_text


def test_a_rule_belongs_to_the_variant_of_its_detection() -> None:
    mine, yours = (
        parse_text(short_rule_text()),
        parse_text(short_rule_text("ATR-2026-90002", title="Another title")),
    )
    assert mine.problems == ()
    assert mine.variant == yours.variant != parse_text(short_rule_text(pattern="other")).variant


def test_a_draft_request_of_a_stock_guard_is_kept_as_evidence() -> None:
    draft = parse_text(DRAFT)
    assert draft.refused is None
    assert any(problem.startswith("detection: ") for problem in draft.problems)
    assert draft.variant != parse_text(DRAFT.replace('"s"', '"t"')).variant


@pytest.mark.parametrize("payload", ["\x85\x9b", "\\ud83d\\ude00", "\x7f"])
def test_json_that_is_no_plain_yaml_is_a_draft_all_the_same(payload: str) -> None:
    assert parse_text(f'{{"type":"skill-audit-finding","payload":"{payload}"}}').refused is None


def test_yaml_without_agent_source_is_a_draft_with_its_reason() -> None:
    assert [
        p
        for p in parse_text(short_rule_text(agent_source=False)).problems
        if p.startswith("agent_source.type: ")
    ]


@pytest.mark.parametrize(
    "text",
    [
        "just words",
        "- a\n- b",
        "[1, 2]",
        "12",
        "title: a\ntitle: b",
        "a: &x [1]\nb: *x",
        "a: !!python/object:os.system x",
        "{" * 100_000,
        '{"a":' * 5_000,
        '{"a":1,"a":2}',
        "{unclosed",
        "\x00",
    ],
)
def test_what_is_no_plain_mapping_is_refused(text: str) -> None:
    assert parse_text(text).refused


def test_a_known_text_costs_nothing_and_a_refused_one_stays_refused(tmp_path: Path) -> None:
    async def scenario() -> None:
        sandbox = Sandbox(5.0)
        reader = RuleParser(sandbox)
        first = await reader.read(short_rule_text())
        with pytest.raises(UnusableText, match="YAML mapping"):
            await reader.read("- a")
        await sandbox.close()
        reader._sandbox = None  # type: ignore[assignment]  # any further call to it fails
        assert await reader.read(short_rule_text()) == first
        with pytest.raises(UnusableText, match="YAML mapping"):
            await reader.read("- a")

    asyncio.run(scenario())

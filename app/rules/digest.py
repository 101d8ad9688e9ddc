"""Digests that say whether two texts are the same text, and whether two rules detect the same thing."""

import hashlib
import json

from app.rules.regexes import split_flags
from app.rules.rule import as_mapping, match_mode

_PROSE = frozenset({"description", "false_positives"})


def text_digest(text: str) -> str:
    """Return the SHA-256 of the text's UTF-8 bytes, in hex."""
    return hashlib.sha256(text.encode()).hexdigest()


def detection_digest(doc: object) -> str | None:
    """Return the SHA-256 (hex) of what the rule detects, or None when it has no detection conditions.

    Equal for texts that differ only in title, dates, comments, descriptions, false-positive notes, a leading
    `(?i)` (every engine ignores case anyway), or, under any/all, the order and repetition of the conditions.
    """
    detection = as_mapping(as_mapping(doc).get("detection"))
    if not detection.get("conditions"):
        return None
    whole = {key: _without_prose(value) for key, value in detection.items() if key not in _PROSE}
    if whole.get("method") == "pattern":  # the default of every engine
        del whole["method"]
    listed = whole["conditions"]
    mode = match_mode({"detection": detection})
    if mode and isinstance(listed, list):
        whole["condition"] = mode
        whole["conditions"] = sorted({_canonical(item) for item in listed})
    return hashlib.sha256(_canonical(whole).encode()).hexdigest()


def _without_prose(value: object) -> object:
    """Drop descriptions at any depth and the flag that changes nothing from regexes."""
    if isinstance(value, list):
        return [_without_prose(item) for item in value]
    if not isinstance(value, dict):
        return value
    kept = {key: _without_prose(item) for key, item in value.items() if key not in _PROSE}
    if kept.get("operator") == "regex" and isinstance(kept.get("value"), str):
        flags, body = split_flags(str(kept["value"]))
        kept["value"] = f"(?{flags}){body}" if flags else body
    return kept


def _canonical(value: object) -> str:
    """Return one spelling per value: sorted keys, ASCII, no spaces."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"))

"""The 785 rules that upstream publishes (npm agent-threat-rules 4.0.0), kept under .cache/ of the repository."""

import re
import tarfile
from pathlib import Path

from tests.npm_pack import fetch, kept

PACKAGE = "agent-threat-rules@4.0.0"
INTEGRITY = "LMc1Sy+PZUM37CG7BX6FbluQOkLPeP1AaLbDxKsftMVdOC7WxBqL0gaUg7IY/bELuANsWGM96grNjilA0KhO8A=="
COUNT = 785

_RULE = re.compile(r"package/rules/(?P<folder>[a-z-]+)/(?P<name>[A-Za-z0-9._-]+\.yaml)")


def published_rules_folder() -> Path:
    """Return the folder with the rules, fetching the package (2 MB, its SHA-512 checked) the first time."""
    return kept(PACKAGE, _rules)


def _rules(work: Path) -> Path:
    return _unpack(fetch(PACKAGE, INTEGRITY, work / "archive"), work / "rules")


def _unpack(archive: Path, target: Path) -> Path:
    with tarfile.open(archive) as members:
        for member in members:
            name = _RULE.fullmatch(member.name)
            content = members.extractfile(member) if name and member.isfile() else None
            if name and content:
                place = target / name["folder"] / name["name"]
                place.parent.mkdir(parents=True, exist_ok=True)
                place.write_bytes(content.read())
    return target

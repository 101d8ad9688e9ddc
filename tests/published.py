"""The 785 rules that upstream publishes (npm agent-threat-rules 4.0.0), kept under .cache/ of the repository."""

import os
import re
import tarfile
import tempfile
from pathlib import Path

from tests.npm_pack import CACHE, fetch

PACKAGE = "agent-threat-rules@4.0.0"
INTEGRITY = "LMc1Sy+PZUM37CG7BX6FbluQOkLPeP1AaLbDxKsftMVdOC7WxBqL0gaUg7IY/bELuANsWGM96grNjilA0KhO8A=="
COUNT = 785

_RULE = re.compile(r"package/rules/(?P<folder>[a-z-]+)/(?P<name>[A-Za-z0-9._-]+\.yaml)")


def published_rules_folder() -> Path:
    """Return the folder with the rules, fetching the package (2 MB, its SHA-512 checked) the first time."""
    folder = CACHE / PACKAGE
    if not folder.is_dir():
        CACHE.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=CACHE) as work:
            archive = fetch(PACKAGE, INTEGRITY, Path(work) / "archive")
            unpacked = _unpack(archive, Path(work) / "rules")
            try:
                os.rename(unpacked, folder)  # noqa: PTH104 - the one step that makes it visible
            except OSError:  # another test run was first
                if not folder.is_dir():
                    raise
    return folder


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

"""The 785 rules that upstream publishes (npm agent-threat-rules 4.0.0), kept under .cache/ of the repository."""

import base64
import hashlib
import os
import re
import subprocess
import tarfile
import tempfile
from pathlib import Path

from tests.needs import lacking, need_program

PACKAGE = "agent-threat-rules@4.0.0"
INTEGRITY = "LMc1Sy+PZUM37CG7BX6FbluQOkLPeP1AaLbDxKsftMVdOC7WxBqL0gaUg7IY/bELuANsWGM96grNjilA0KhO8A=="
COUNT = 785

_CACHE = Path(__file__).parent.parent / ".cache" / "npm"
_RULE = re.compile(r"package/rules/(?P<folder>[a-z-]+)/(?P<name>[A-Za-z0-9._-]+\.yaml)")


def published_rules_folder() -> Path:
    """Return the folder with the rules, fetching the package (2 MB, its SHA-512 checked) the first time."""
    folder = _CACHE / PACKAGE
    if not folder.is_dir():
        npm = need_program("npm")
        _CACHE.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=_CACHE) as work:
            unpacked = _unpack(_download(npm, Path(work)), Path(work) / "rules")
            try:
                os.rename(unpacked, folder)  # noqa: PTH104 - the one step that makes it visible
            except OSError:  # another test run was first
                if not folder.is_dir():
                    raise
    return folder


def _download(npm: str, work: Path) -> Path:
    command = [npm, "pack", PACKAGE, "--silent", "--pack-destination", str(work)]
    done = subprocess.run(command, cwd=work, capture_output=True, text=True, timeout=120, check=False)
    found = list(work.glob("*.tgz"))
    if done.returncode or not found:
        lacking(f"{PACKAGE} from the npm registry ({done.stderr.strip()[:200]})")
    digest = base64.b64encode(hashlib.sha512(found[0].read_bytes()).digest()).decode()
    assert digest == INTEGRITY, f"{PACKAGE} is not the package these tests were measured on"
    return found[0]


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

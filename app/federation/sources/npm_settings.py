"""Which npm registry to use: the one configured, else the one in npm's own settings."""

import contextlib
import os
from collections.abc import Mapping
from pathlib import Path

from msgspec.structs import replace

from app.federation.sources.collected import SourceError
from app.federation.upstream import NpmUpstream

GLOBAL_FILE = Path("/etc/npmrc")
_VARIABLES = ("NPM_CONFIG_REGISTRY", "npm_config_registry")


def registry_of(upstream: NpmUpstream, environ: Mapping[str, str] = os.environ) -> str:
    """The registry's address without a trailing slash.

    Looked for in this order: `url`, the environment, `~/.npmrc`, `/etc/npmrc` and `$PREFIX/etc/npmrc`. None is
    built in: nothing leaves the network that nobody configured. Raises `SourceError` not-found, and unreadable when
    what npm's settings say could not be written as `url`.
    """
    found = upstream.url or next(filter(None, map(environ.get, _VARIABLES)), None)
    if found is None:
        found = next(filter(None, map(_from_file, _files(environ))), None)
    if found is None:
        raise SourceError(
            "not-found",
            "No npm registry is configured: set url, the variable NPM_CONFIG_REGISTRY, or registry= in .npmrc.",
        )
    try:
        checked = replace(upstream, url=found).url or ""
    except ValueError as error:
        raise SourceError("unreadable", f"The registry in npm's settings cannot be used; {error}.") from None
    return checked.rstrip("/")


def _files(environ: Mapping[str, str]) -> list[Path]:
    files = [GLOBAL_FILE]
    if home := environ.get("HOME"):
        files.insert(0, Path(home) / ".npmrc")
    if prefix := environ.get("PREFIX"):
        files.append(Path(prefix) / "etc/npmrc")
    return files


def _from_file(path: Path) -> str | None:
    """The value of `registry=`; a file that is not there, or not for us to read, says nothing."""
    with contextlib.suppress(OSError):
        for line in path.read_text(errors="replace").splitlines():
            name, _, value = line.partition("=")
            if name.strip() == "registry" and value.strip():
                return value.strip().strip("\"'")
    return None

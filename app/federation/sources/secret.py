"""Keys for upstreams: the configuration says where one is, never what it is."""

import os
import re
import stat
from pathlib import Path

from app.federation.sources.collected import SourceError

MAX_BYTES = 8192
_HEADER_VALUE = re.compile(r"[\x21-\x7e]+\Z")


def read_upstream_key(reference: str) -> str:
    """Return the key that `env:NAME`, `file:/path` or `credential:NAME` stands for, stripped.

    A file that every user of the machine can read is refused; systemd guards credentials itself. Raises
    `SourceError` key; its sentence names the option and the place, never the key.
    """
    kind, _, name = reference.partition(":")
    key = (_from_environment(name) if kind == "env" else _from_file(kind, name)).strip()
    if not key:
        raise _refused(reference, "is empty")
    if not _HEADER_VALUE.match(key):
        raise _refused(reference, "must hold one key on one line: ASCII without spaces")
    return key


def _from_environment(name: str) -> str:
    if name not in os.environ:
        raise _refused(f"env:{name}", "is not in the environment of the server")
    return os.environ[name]


def _from_file(kind: str, name: str) -> str:
    path = Path(name)
    if kind == "credential":
        folder = os.environ.get("CREDENTIALS_DIRECTORY")
        if not folder:
            raise _refused(f"credential:{name}", "needs LoadCredential= in the systemd unit")
        path = Path(folder) / name
    try:
        with path.open("rb") as file:
            if kind == "file" and os.fstat(file.fileno()).st_mode & stat.S_IROTH:
                raise _refused(f"file:{name}", "can be read by every user; take that right away (chmod o-r)")
            return file.read(MAX_BYTES).decode("ascii", "replace")
    except OSError as error:
        raise _refused(f"{kind}:{name}", f"cannot be read: {error.strerror}") from None


def _refused(reference: str, reason: str) -> SourceError:
    return SourceError("key", f"key: {reference} {reason}.")

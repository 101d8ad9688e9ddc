"""Kind `package`: rules that an installed Python package carries, read as data; none of its code runs.

pyatr 0.3.1 bundles 833 public rules, stripped to id, title, description, severity, status, tags and detection
(measured). Their texts are rendered here, in the order of fields that published rules use, always the same for
the same data.
"""

import hashlib
import importlib.metadata
import importlib.util
import json
from pathlib import Path

from app import __version__
from app.federation.sources.collected import Collected, Memory, SetAside, SourceError
from app.federation.sources.spool import MAX_BYTES, Spool
from app.federation.upstream import PackageUpstream
from app.http.problem import printable
from app.rules.yaml_text import dump_yaml

FILE_NAME = "_bundled_rules.json"
_FIELD_ORDER = ("title", "id", "status", "description", "severity", "tags", "detection")


def collect_package(upstream: PackageUpstream, memory: Memory, spool: str) -> Collected:
    """Render the rules of the installed package, unless its file, and we, are the same as before.

    Raises `SourceError` and `OSError`.
    """
    package = upstream.package
    content = _bundle(package)
    fingerprint = f"{__version__} {hashlib.sha256(content).hexdigest()}"
    if fingerprint == memory.fingerprint:
        return Collected("unchanged", label=memory.label, memory=memory)
    set_aside: list[SetAside] = []
    with Spool(spool) as texts:
        for number, document in enumerate(_documents(package, content), 1):
            name = printable(str(document.get("id", f"rule number {number}"))[:128])
            try:
                texts.add(name, dump_yaml(_ordered(document)).encode())
            except ValueError as error:
                set_aside.append(SetAside(name, str(error)))
    label = _version(package)
    return Collected(
        "changed",
        label=label,
        items=texts.items,
        set_aside=tuple(set_aside),
        memory=Memory(label=label, fingerprint=fingerprint),
    )


def _bundle(package: str) -> bytes:
    spec = importlib.util.find_spec(package)
    folders = list(spec.submodule_search_locations or ()) if spec else []
    path = Path(folders[0]) / FILE_NAME if folders else None
    if path is None or not path.is_file():
        raise SourceError("not-found", f"The Python package {package} with {FILE_NAME} is not installed.")
    if path.stat().st_size > MAX_BYTES:
        raise SourceError("too-large", f"{FILE_NAME} of {package} is larger than {MAX_BYTES} bytes.")
    return path.read_bytes()


def _documents(package: str, content: bytes) -> list[dict[str, object]]:
    try:
        documents = json.loads(content)
    except (ValueError, RecursionError):
        raise SourceError("not-json", f"{FILE_NAME} of {package} is not JSON.") from None
    if not isinstance(documents, list) or not all(isinstance(item, dict) for item in documents):
        raise SourceError("shape", f"{FILE_NAME} of {package} is not a list of rules.")
    return documents


def _ordered(document: dict[str, object]) -> dict[str, object]:
    first = {name: document[name] for name in _FIELD_ORDER if name in document}
    return first | document


def _version(package: str) -> str:
    """Return its version, where the distribution has the name of the package."""
    try:
        return importlib.metadata.version(package)[:64]
    except importlib.metadata.PackageNotFoundError:
        return ""

"""Rules that an installed Python package carries, read as data: nothing of the package is imported or run.

pyatr 0.3.1 bundles 833 public rules, stripped to id, title, description, severity, status, tags and detection
(measured). Their texts are rendered here, in the order of fields that published rules use, always the same for
the same data.
"""

import importlib.util
import json
from pathlib import Path

import msgspec

from app.rules.errors import RuleTextError
from app.rules.inspect import Inspection, inspect_text
from app.rules.validate import Profile
from app.rules.yaml_text import dump_yaml

FILE_NAME = "_bundled_rules.json"
MAX_BYTES = 64 * 1024 * 1024
_FIELD_ORDER = ("title", "id", "status", "description", "severity", "tags", "detection")


class Offered(msgspec.Struct, frozen=True):
    """One rule that an upstream offers and that is fit to be served."""

    text: str
    inspection: Inspection


class SetAside(msgspec.Struct, frozen=True):
    """One rule that is not taken, and why."""

    rule_id: str
    reason: str


class Offer(msgspec.Struct, frozen=True):
    """Everything that an upstream offers at one moment; `error` when it could not be read at all."""

    rules: tuple[Offered, ...] = ()
    set_aside: tuple[SetAside, ...] = ()
    error: str | None = None


def read_package(package: str) -> Offer:
    """Read the bundle of an installed package (runs in a lane: 833 rules take about two seconds)."""
    spec = importlib.util.find_spec(package)
    folders = list(spec.submodule_search_locations or ()) if spec else []
    path = Path(folders[0]) / FILE_NAME if folders else None
    if path is None or not path.is_file():
        return Offer(error=f"the Python package {package} with {FILE_NAME} is not installed")
    if path.stat().st_size > MAX_BYTES:
        return Offer(error=f"{FILE_NAME} of {package} is larger than {MAX_BYTES} bytes")
    documents = json.loads(path.read_bytes())
    if not isinstance(documents, list) or not all(isinstance(item, dict) for item in documents):
        return Offer(error=f"{FILE_NAME} of {package} is not a list of rules")
    return _sort(documents)


def _sort(documents: list[dict[str, object]]) -> Offer:
    taken: dict[str, Offered] = {}
    set_aside: list[SetAside] = []
    for number, document in enumerate(documents, 1):
        name = str(document.get("id", f"rule number {number}"))[:128]
        try:
            text = dump_yaml(_ordered(document))
            inspection = inspect_text(text, profile=Profile.BUNDLED)
        except (RuleTextError, ValueError) as error:
            set_aside.append(SetAside(name, str(error)))
            continue
        if inspection.problems or inspection.facts is None:
            reason = "; ".join(f"{p.field}: {p.message}" for p in inspection.problems)
            set_aside.append(SetAside(name, reason))
        elif name in taken:
            set_aside.append(SetAside(name, "the id occurs twice"))
        else:
            taken[name] = Offered(text, inspection)
    return Offer(tuple(taken.values()), tuple(set_aside))


def _ordered(document: dict[str, object]) -> dict[str, object]:
    first = {name: document[name] for name in _FIELD_ORDER if name in document}
    return first | document

"""Lock files: pinned requirements with the digests of every file that may be installed for them."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from packaging.markers import Marker
from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name

from deploy.offline.errors import BuildError
from deploy.offline.targets import Target


@dataclass(frozen=True, slots=True)
class Pin:
    """One requirement of a lock file."""

    name: str
    """Normalised (PEP 503)."""
    version: str
    marker: Marker | None
    hashes: frozenset[str]
    """SHA-256, hexadecimal."""

    def render(self, *, marker: bool) -> str:
        """One line for pip, with the marker or without."""
        condition = f" ; {self.marker}" if marker and self.marker else ""
        digests = "".join(f" --hash=sha256:{value}" for value in sorted(self.hashes))
        return f"{self.name}=={self.version}{condition}{digests}\n"


def read_lock(path: Path) -> tuple[Pin, ...]:
    """Read `requirements/*.txt` as `make lock` writes them. BuildError names what is not pinned or has no digest."""
    text = path.read_text().replace("\\\n", " ")
    return tuple(_pin(line, path) for line in text.splitlines() if line.strip() and not line.startswith("#"))


def _pin(line: str, path: Path) -> Pin:
    wanted, *options = line.split(" --hash=sha256:")
    try:
        requirement = Requirement(wanted.strip())
    except InvalidRequirement as error:
        raise BuildError(f"{path} has a line that is no requirement: {error}") from None
    [*versions] = requirement.specifier
    if len(versions) != 1 or versions[0].operator != "==" or not options:
        raise BuildError(
            f"{path} does not pin {requirement.name} to one version with its digests; run `make lock`"
        )
    hashes = frozenset(option.strip() for option in options)
    return Pin(canonicalize_name(requirement.name), versions[0].version, requirement.marker, hashes)


def needed(pins: Iterable[Pin], target: Target) -> tuple[Pin, ...]:
    """Choose the pins that the target needs, in order of their names. BuildError if one has two versions there."""
    chosen: dict[str, Pin] = {}
    for pin in pins:
        if target.wants(pin.marker):
            if pin.name in chosen:
                raise BuildError(f"{target.name} would need two versions of {pin.name}")
            chosen[pin.name] = pin
    return tuple(chosen[name] for name in sorted(chosen))

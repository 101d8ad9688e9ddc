"""The machines that an archive is for: CPython versions and processors, with their wheel tags and markers."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Self

from packaging.markers import Marker

from deploy.offline.errors import BuildError

PYTHONS = ("3.11", "3.12", "3.13")
ARCHITECTURES = ("x86_64", "aarch64")
NEWEST_GLIBC = 28
"""Minor version of the newest glibc 2.x that a wheel may ask for: 2.28 is in RHEL 8, and older than every Debian's
that has Python 3.11."""


@dataclass(frozen=True, slots=True, order=True)
class Target:
    """One kind of machine, on Linux with glibc."""

    python: str
    """`3.11`"""
    architecture: str
    """As `uname -m` says it."""

    @classmethod
    def parse(cls, name: str) -> Self:
        """Read `cp311-x86_64`. BuildError for one that archives are not made for."""
        for target in EVERY:
            if target.name == name:
                return cls(target.python, target.architecture)
        known = ", ".join(target.name for target in EVERY)
        raise BuildError(f"there is no target {name!r}; there are {known}")

    @property
    def name(self) -> str:
        """`cp311-x86_64`."""
        return f"cp{self.python.replace('.', '')}-{self.architecture}"

    def platforms(self) -> Iterator[str]:
        """Platform tags of wheels that run there, best first (PEP 600; the last three are its older names)."""
        for minor in range(NEWEST_GLIBC, 4, -1):
            yield f"manylinux_2_{minor}_{self.architecture}"
        for alias in ("manylinux2014", "manylinux2010", "manylinux1"):
            yield f"{alias}_{self.architecture}"

    def wants(self, marker: Marker | None) -> bool:
        """Say whether some patch release of the Python there needs a requirement with this marker (PEP 508)."""
        return marker is None or any(
            marker.evaluate(
                {
                    "implementation_name": "cpython",
                    "implementation_version": full,
                    "os_name": "posix",
                    "platform_machine": self.architecture,
                    "platform_python_implementation": "CPython",
                    "platform_release": "",
                    "platform_system": "Linux",
                    "platform_version": "",
                    "python_full_version": full,
                    "python_version": self.python,
                    "sys_platform": "linux",
                }
            )
            for full in (f"{self.python}.0", f"{self.python}.99")
        )


EVERY = tuple(Target(python, architecture) for python in PYTHONS for architecture in ARCHITECTURES)
"""Every target of a release."""

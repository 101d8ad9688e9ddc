"""The bill of materials: one CycloneDX 1.6 component for each wheel file in the archive."""

import uuid
from collections.abc import Iterable
from datetime import UTC, datetime
from email.parser import HeaderParser
from zipfile import ZipFile

from cyclonedx.contrib.license.factories import LicenseFactory
from cyclonedx.model import HashAlgorithm, HashType
from cyclonedx.model.bom import Bom
from cyclonedx.model.component import Component, ComponentType
from cyclonedx.model.license import License
from cyclonedx.output.json import JsonV1Dot6
from packageurl import PackageURL

from deploy.offline.wheels import Wheel

LONGEST_NAME = 80
"""The old `License` field is a name, or the whole text of the licence."""


def bill_of_materials(own: Wheel, wheels: Iterable[Wheel], *, epoch: int) -> str:
    """Render the bill of the application `own` with each distinct wheel file once (own included), as JSON text.

    The same wheels give the same text: the serial number is derived from their digests, the time is `epoch`.
    """
    distinct = sorted({wheel.path.name: wheel for wheel in [own, *wheels]}.items())
    bom = Bom(serial_number=uuid.uuid5(uuid.NAMESPACE_OID, " ".join(wheel.sha256 for _, wheel in distinct)))
    bom.metadata.timestamp = datetime.fromtimestamp(epoch, UTC)
    application = Component(
        type=ComponentType.APPLICATION,
        name=own.name,
        version=own.version,
        bom_ref=f"{own.name}@{own.version}",
    )
    bom.metadata.component = application
    components = [_component(wheel) for _, wheel in distinct]
    for component in components:
        bom.components.add(component)
    bom.register_dependency(application, components)
    return JsonV1Dot6(bom).output_as_string(indent=1) + "\n"


def _component(wheel: Wheel) -> Component:
    return Component(
        type=ComponentType.LIBRARY,
        name=wheel.name,
        version=wheel.version,
        bom_ref=wheel.path.name,
        purl=PackageURL("pypi", None, wheel.name, wheel.version, {"file_name": wheel.path.name}),
        hashes=[HashType(alg=HashAlgorithm.SHA_256, content=wheel.sha256)],
        licenses=_licence(wheel),
    )


def _licence(wheel: Wheel) -> list[License]:
    """Return the licence that the author stated: an SPDX expression (PEP 639), or an older field if it is a name."""
    with ZipFile(wheel.path) as archive:
        [name] = [n for n in archive.namelist() if n.endswith(".dist-info/METADATA") and n.count("/") == 1]
        headers = HeaderParser().parsestr(archive.read(name).decode())
    stated = [headers["License-Expression"], headers["License"]]
    stated += [
        c.rpartition(" :: ")[2] for c in headers.get_all("Classifier", []) if c.startswith("License :: ")
    ]
    names = [text for text in stated if text and len(text) < LONGEST_NAME and "\n" not in text]
    return [LicenseFactory().make_from_string(names[0])] if names else []

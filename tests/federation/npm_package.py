"""npm packages of rules, built in memory: right ones, and hostile ones that must not be unpacked."""

import base64
import gzip
import hashlib
import io
import tarfile
from collections.abc import Mapping


def pack(rules: Mapping[str, str], *more: tuple[tarfile.TarInfo, bytes]) -> bytes:
    """A gzipped tar with `package/rules/<name>.yaml` for each rule, and further members as they are."""
    packed = io.BytesIO()
    with (
        gzip.GzipFile(fileobj=packed, mode="wb", compresslevel=1, mtime=0) as stream,
        tarfile.open(fileobj=stream, mode="w") as archive,
    ):
        add(archive, regular("package/package.json"), b'{"name": "agent-threat-rules"}')
        for name, text in rules.items():
            add(archive, regular(f"package/rules/tool-poisoning/{name}.yaml"), text.encode())
        for info, content in more:
            add(archive, info, content)
    return packed.getvalue()


def add(archive: tarfile.TarFile, info: tarfile.TarInfo, content: bytes) -> None:
    info.size = len(content)
    archive.addfile(info, io.BytesIO(content))


def regular(name: str) -> tarfile.TarInfo:
    return tarfile.TarInfo(name)


def link(name: str, target: str, kind: bytes = tarfile.SYMTYPE) -> tuple[tarfile.TarInfo, bytes]:
    """A symbolic (or, with `tarfile.LNKTYPE`, a hard) link."""
    info = tarfile.TarInfo(name)
    info.type = kind
    info.linkname = target
    return info, b""


def integrity(package: bytes, algorithm: str = "sha512") -> str:
    """As the registry announces it."""
    digest = hashlib.new(algorithm, package).digest()
    return f"{algorithm}-{base64.b64encode(digest).decode()}"


def escaping(text: str) -> tuple[tuple[tarfile.TarInfo, bytes], ...]:
    """Members that lead out of the package, and links to what is not in it."""
    content = text.encode()
    return (
        (regular("package/rules/../../../../etc/evil.yaml"), content),
        (regular("/rules/absolute.yaml"), content),
        (regular("package/rules/./dotted.yaml"), content),
        link("package/rules/passwd.yaml", "/etc/passwd"),
        link("package/rules/hard.yaml", "package/package.json", tarfile.LNKTYPE),
        link("package/rules/pipe.yaml", "", tarfile.FIFOTYPE),
    )

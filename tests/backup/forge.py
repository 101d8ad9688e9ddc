"""Backups as an attacker, or a disk, could make them: any members, any manifest, signed with any key."""

import hashlib
import io
import shutil
import sqlite3
import tarfile
import zlib
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import jwt

from app.backup.archive import SEAL_BYTES, seal
from app.signing.keys import SigningKey, SigningKeys
from tests.backup.conftest import Origin

Item = tuple[tarfile.TarInfo, bytes]


def sealed(tar: bytes) -> bytes:
    """A tar, packed and sealed as a backup is."""
    deflate = zlib.compressobj(1, zlib.DEFLATED, 31)
    packed = deflate.compress(tar) + deflate.flush()
    return packed + seal(hashlib.sha256(packed).digest())


def resealed(file: bytes) -> bytes:
    """The file with its last bytes replaced by a seal that fits."""
    packed = file[:-SEAL_BYTES]
    return packed + seal(hashlib.sha256(packed).digest())


def plain_file(name: str, content: bytes) -> Item:
    info = tarfile.TarInfo(name)
    info.size, info.mode = len(content), 0o600
    return info, content


def tar_of(items: Iterable[Item], end: bytes = bytes(1024)) -> bytes:
    """The bytes of a tar with these members, however strange."""
    out = io.BytesIO()
    for info, content in items:
        out.write(info.tobuf(tarfile.GNU_FORMAT, "utf-8", "surrogateescape"))
        out.write(content + bytes(-len(content) % 512))
    return out.getvalue() + end


class Forge:
    """A genuine backup, taken apart; `claims` and `files` can be changed before it is put together again."""

    def __init__(self, origin: Origin, source: Path, folder: Path) -> None:
        folder.mkdir()
        with tarfile.open(source) as tar:
            self.files = {m.name: _read(tar, m) for m in tar.getmembers()}
        token = self.files.pop("manifest.jwt").decode()
        self.claims: dict[str, Any] = jwt.decode(token, options={"verify_signature": False})
        self.genuine: SigningKey = SigningKeys.read(origin.state).signer("manifest")
        self.stranger: SigningKey = _other_key(folder / "stranger")
        self._folder = folder

    def edit_database(self, change: Callable[[sqlite3.Connection], object]) -> None:
        """Change the database inside, and what the manifest says of its bytes."""
        path = self._folder / "edited.db"
        path.write_bytes(self.files["threatcloud.db"])
        connection = sqlite3.connect(path)
        change(connection)
        connection.commit()
        connection.close()
        self.put("threatcloud.db", path.read_bytes())

    def put(self, name: str, content: bytes) -> None:
        """Add or replace a member, in the manifest too."""
        self.files[name] = content
        entry = {"name": name, "size": len(content), "sha256": hashlib.sha256(content).hexdigest()}
        members = [m for m in self.claims["members"] if m["name"] != name]
        where = next((i for i, m in enumerate(self.claims["members"]) if m["name"] == name), len(members))
        self.claims["members"] = [*members[:where], entry, *members[where:]]

    def token(self, key: SigningKey | None = None, **header: str) -> bytes:
        """The manifest, signed."""
        signer = key or self.genuine
        headers = {"kid": signer.kid, "typ": "backup+jwt", **header}
        return jwt.encode(self.claims, signer.private, algorithm="EdDSA", headers=headers).encode()

    def items(self, key: SigningKey | None = None) -> list[Item]:
        """The members in the order of the manifest, which comes first."""
        names = [m["name"] for m in self.claims["members"]]
        rest = [plain_file(name, self.files[name]) for name in names if name in self.files]
        return [plain_file("manifest.jwt", self.token(key)), *rest]

    def file(self, key: SigningKey | None = None) -> bytes:
        """The backup, put together."""
        return sealed(tar_of(self.items(key)))


def _read(tar: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    file = tar.extractfile(member)
    assert file is not None
    return file.read()


def _other_key(folder: Path) -> SigningKey:
    folder.mkdir()
    key = SigningKeys.open(folder, datetime.now(UTC)).signer("manifest")
    shutil.rmtree(folder)
    return key

"""Bundle files on disk, checked without an instance."""

import os
from pathlib import Path

import pytest

from app.bundles.files import BundleFacts, check_bundle
from app.bundles.format import BundleError
from tests.bundles.exporter import EXPORTED_AT, Exporter, new_key, pem_of, sha256

KEY = new_key()


def test_a_file_is_checked_and_described_without_an_instance(tmp_path: Path) -> None:
    exporter = Exporter(KEY)
    exporter.publish("first")
    exporter.publish("first")
    bundle = exporter.bundle(since=1)
    file = tmp_path / "delta.tcbundle"
    file.write_bytes(bundle)
    facts, manifest = check_bundle(str(file), pem_of(KEY))
    assert facts == BundleFacts(sha256(bundle), 2, 1, exporter.iss, EXPORTED_AT)
    assert manifest == exporter.manifest(since=1)
    with pytest.raises(BundleError) as caught:
        check_bundle(str(file), pem_of(new_key()))
    assert caught.value.code == "signature"
    with pytest.raises(BundleError) as caught:
        check_bundle(str(file), b"no key")
    assert caught.value.code == "key"


def test_what_is_no_plain_file_is_never_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for name, code in (("missing", "not-found"), ("pipe", "unreadable"), (".", "unreadable")):
        with pytest.raises(BundleError) as caught:
            check_bundle(str(tmp_path / name), pem_of(KEY))
        assert caught.value.code == code

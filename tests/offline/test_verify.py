"""`./verify` accepts what was signed, and says in one sentence what is wrong with anything else."""

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from deploy.offline.signing import NAMESPACE, sums


def verify(folder: Path, *options: str, cwd: Path | None = None) -> tuple[int, str]:
    done = subprocess.run(
        [folder / "verify", *options], cwd=cwd, capture_output=True, text=True, timeout=60, check=False
    )
    return done.returncode, done.stdout + done.stderr


@pytest.fixture
def copy(archive: Path, tmp_path: Path) -> Path:
    return shutil.copytree(archive, tmp_path / "archive", copy_function=shutil.copy2)


def new_key(folder: Path, name: str = "other") -> Path:
    key = folder / name
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", name, "-f", key], check=True)
    return key


def sign_anew(folder: Path, key: Path) -> None:
    (folder / "SHA256SUMS.sig").unlink()
    subprocess.run(
        ["ssh-keygen", "-q", "-Y", "sign", "-f", key, "-n", NAMESPACE, folder / "SHA256SUMS"], check=True
    )


def test_what_was_built_is_accepted_and_the_key_named(archive: Path, tmp_path: Path) -> None:
    code, said = verify(archive, cwd=tmp_path)
    assert code == 0, said
    assert said.startswith("threatcloud ")
    assert "complete, unchanged, signed by SHA256:" in said
    assert "not a release" in said


def test_a_key_from_elsewhere_is_enough_and_is_named_from_where_one_stands(
    archive: Path, tmp_path: Path
) -> None:
    known = (archive / "release-key.pub").read_text()
    (tmp_path / "known.pub").write_text(
        f"# last year's and this year's\n{_public(new_key(tmp_path))}\n{known}"
    )
    code, said = verify(archive, "--key", "known.pub", cwd=tmp_path)
    assert code == 0, said
    assert said.count("\n") == 1, "with a key of your own there is nothing left to compare"


def test_another_key_is_refused(archive: Path, tmp_path: Path) -> None:
    code, said = verify(archive, "--key", str(new_key(tmp_path)) + ".pub")
    assert code == 1
    assert "signed by SHA256:" in said
    assert "which is not a key in" in said


def test_an_archive_signed_by_somebody_else_is_refused_by_the_known_key(
    archive: Path, copy: Path, tmp_path: Path
) -> None:
    key = new_key(tmp_path)
    (copy / "VERSION").write_text("9.9.9\n")
    (copy / "release-key.pub").write_text(_public(key))
    for name in ("SHA256SUMS", "SHA256SUMS.sig"):
        (copy / name).unlink()
    (copy / "SHA256SUMS").write_text(sums(copy))
    (copy / "SHA256SUMS.sig").touch()
    sign_anew(copy, key)
    assert verify(copy)[0] == 0, "whole in itself"
    code, said = verify(copy, "--key", str(archive / "release-key.pub"))
    assert code == 1
    assert "which is not a key in" in said


def test_a_signature_for_another_purpose_is_refused(copy: Path, tmp_path: Path) -> None:
    key = new_key(tmp_path)
    (copy / "SHA256SUMS.sig").unlink()
    subprocess.run(
        ["ssh-keygen", "-q", "-Y", "sign", "-f", key, "-n", "git", copy / "SHA256SUMS"], check=True
    )
    code, said = verify(copy, "--key", f"{key}.pub")
    assert code == 1
    assert "not what was signed" in said


def _public(key: Path) -> str:
    return key.with_name(key.name + ".pub").read_text()


def change_a_wheelhouse(folder: Path) -> None:
    [path] = (folder / "wheelhouse").glob("*.tar")
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def change_a_sum(folder: Path) -> None:
    path = folder / "SHA256SUMS"
    text = path.read_text()
    path.write_text(("1" if text[0] == "0" else "0") + text[1:])


def remove_the_signature(folder: Path) -> None:
    (folder / "SHA256SUMS.sig").unlink()


def remove_the_sums(folder: Path) -> None:
    (folder / "SHA256SUMS").unlink()


def remove_a_file(folder: Path) -> None:
    (folder / "LICENSE").unlink()


def add_a_file(folder: Path) -> None:
    (folder / "deploy" / "more.sh").write_text("#!/bin/sh\n")


def add_a_file_named_like_two_others(folder: Path) -> None:
    (folder / "VERSION\nLICENSE").write_text("")


def put_a_link_in_place_of_a_file(folder: Path) -> None:
    (folder / "LICENSE").rename(folder.parent / "LICENSE")
    (folder / "LICENSE").symlink_to(folder.parent / "LICENSE")


@pytest.mark.parametrize(
    ("tamper", "sentence"),
    [
        (change_a_wheelhouse, "changed or missing: wheelhouse/"),
        (change_a_sum, "SHA256SUMS is not what was signed"),
        (remove_the_signature, "SHA256SUMS.sig is missing: this archive is not signed"),
        (remove_the_sums, "SHA256SUMS is missing"),
        (remove_a_file, "changed or missing: LICENSE"),
        (add_a_file, "not part of the archive: deploy/more.sh"),
        (add_a_file_named_like_two_others, "not part of the archive: LICENSE VERSION"),
        (put_a_link_in_place_of_a_file, "neither file nor folder: ./LICENSE"),
    ],
)
def test_what_was_tampered_with_is_refused_in_one_sentence(
    copy: Path, tamper: Callable[[Path], None], sentence: str
) -> None:
    tamper(copy)
    code, said = verify(copy)
    assert code == 1, said
    assert said.startswith("verify: ")
    assert sentence in said
    assert said.count("\n") == 1


def test_a_missing_key_file_and_a_wrong_option_are_said(archive: Path) -> None:
    assert verify(archive, "--key", "/nowhere.pub") == (1, "verify: there is no key file /nowhere.pub\n")
    assert verify(archive, "--keys") == (1, "verify: usage: verify [--key FILE]\n")

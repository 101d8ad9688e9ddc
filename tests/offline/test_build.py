"""What is in an archive, and that building it twice gives the same bytes."""

import json
import os
import re
import shutil
import subprocess
import tarfile
from pathlib import Path
from zipfile import ZipFile

import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

from app import __version__
from deploy.offline.build import REPOSITORY, build_archive
from deploy.offline.errors import BuildError
from deploy.offline.lock import Pin, needed, read_lock
from deploy.offline.signing import VARIABLE, public_key, release_key, sign
from deploy.offline.targets import Target
from deploy.offline.wheels import digest, fetch
from tests.needs import need_program
from tests.offline.conftest import EPOCH, build


def copy_of_the_tree(folder: Path) -> Path:
    """The files that an archive is built from."""
    for name in ("app", "ansible", "deploy", "docs", "requirements"):
        shutil.copytree(
            REPOSITORY / name,
            folder / name,
            ignore=shutil.ignore_patterns("__pycache__"),
            copy_function=shutil.copy,
        )
    for name in (
        "pyproject.toml",
        "README.md",
        "CHANGELOG.md",
        "LICENSE",
        "config.example.toml",
        ".gitignore",
    ):
        shutil.copy(REPOSITORY / name, folder)
    return folder


@pytest.fixture(scope="session")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tree as it was at one moment."""
    return copy_of_the_tree(tmp_path_factory.mktemp("source") / "tree")


@pytest.fixture(scope="session")
def packed(source: Path, here: Target, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The archive as one file."""
    return build(tmp_path_factory.mktemp("packed"), [here], tree=source, unpacked=False)


def test_the_same_tree_gives_the_same_bytes(source: Path, packed: Path, here: Target, tmp_path: Path) -> None:
    tree = shutil.copytree(source, tmp_path / "elsewhere", copy_function=shutil.copy)
    for path in tree.rglob("*"):
        os.utime(path, (EPOCH, EPOCH))
        if path.is_file():
            path.chmod(path.stat().st_mode & ~0o066)
    (tmp_path / "again").mkdir()
    for name in ("throw-away-key", "throw-away-key.pub"):  # the key is part of the input
        shutil.copy2(packed.parent / name, tmp_path / "again")
    again = build(tmp_path / "again", [here], tree=tree, unpacked=False)
    assert packed.name == again.name == f"threatcloud-{__version__}-offline.tar.zst"
    for suffix in ("", ".sig"):
        assert digest(Path(f"{packed}{suffix}")) == digest(Path(f"{again}{suffix}"))


def test_the_file_itself_is_signed_for_those_who_look_before_they_unpack(
    packed: Path, tmp_path: Path
) -> None:
    """The commands of SECURITY.md."""
    [commands] = re.findall(r"```sh\n(sed .*?)```", (REPOSITORY / "SECURITY.md").read_text(), re.DOTALL)
    commands = re.sub(r"threatcloud-[0-9.]+-offline", f"threatcloud-{__version__}-offline", commands)
    shutil.copy(packed.with_name("throw-away-key.pub"), tmp_path / "known.pub")
    for suffix in ("", ".sig"):
        shutil.copy(f"{packed}{suffix}", tmp_path)

    def look() -> int:
        return subprocess.run(
            ["sh", "-c", commands], cwd=tmp_path, capture_output=True, check=False
        ).returncode

    assert look() == 0
    with (tmp_path / packed.name).open("ab") as archive:
        archive.write(b"more")
    assert look() != 0


def test_plain_tar_unpacks_it_and_everything_has_one_owner_and_date(
    packed: Path, here: Target, tmp_path: Path
) -> None:
    subprocess.run(["tar", "-xf", packed, "-C", tmp_path], check=True)
    folder = tmp_path / packed.name.removesuffix(".tar.zst")
    assert subprocess.run([folder / "verify"], capture_output=True, check=False).returncode == 0
    assert {file.stat().st_mtime for file in folder.rglob("*") if file.is_file()} == {EPOCH}
    with tarfile.open(folder / "wheelhouse" / f"{here.name}.tar") as inner:
        members = inner.getmembers()
    assert {(m.mtime, m.uid, m.gid, m.uname, m.mode) for m in members} == {(EPOCH, 0, 0, "", 0o644)}
    assert [m.name for m in members] == sorted(m.name for m in members)


def test_a_tree_with_another_version_gives_that_version(here: Target, tmp_path: Path) -> None:
    tree = copy_of_the_tree(tmp_path / "tree")
    module = tree / "app" / "__init__.py"
    module.write_text(re.sub(r'(__version__ = )".*"', r'\1"99.1.0"', module.read_text()))
    folder = build(tmp_path, [here], tree=tree)
    assert folder.name == "threatcloud-99.1.0-offline"
    assert (folder / "VERSION").read_text() == "99.1.0\n"
    assert (folder / "online" / "threatcloud-99.1.0-py3-none-any.whl").is_file()


def test_the_inventories_of_a_site_and_what_serves_development_stay_out(here: Target, tmp_path: Path) -> None:
    tree = copy_of_the_tree(tmp_path / "tree")
    for name in ("example", "ours"):
        (tree / "ansible" / "inventories" / name).mkdir(parents=True, exist_ok=True)
        (tree / "ansible" / "inventories" / name / "secret.yml").write_text("x: y\n")
    folder = build(tmp_path, [here], tree=tree)
    assert [p.parent.name for p in folder.rglob("secret.yml")] == ["example"]
    assert not list(folder.rglob("*.py*"))
    assert not (folder / "deploy" / "offline").exists()


def test_the_bill_lists_exactly_the_wheels_and_is_valid(archive: Path, tmp_path: Path) -> None:
    text = (archive / "sbom.cdx.json").read_text()
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(text) is None
    listed = {c["bom-ref"]: c["hashes"][0]["content"] for c in json.loads(text)["components"]}
    for number, tar in enumerate([*(archive / "wheelhouse").iterdir(), *(archive / "control").glob("*.tar")]):
        with tarfile.open(tar) as opened:
            opened.extractall(tmp_path / str(number), filter="data")
    found = {path.name: digest(path) for path in [*tmp_path.rglob("*.whl"), *archive.rglob("*.whl")]}
    assert listed == found


def test_the_bill_says_whose_and_under_which_licence(archive: Path) -> None:
    bill = json.loads((archive / "sbom.cdx.json").read_text())
    own = bill["metadata"]["component"]
    assert (own["name"], own["version"]) == ("threatcloud", __version__)
    components = {c["name"]: c for c in bill["components"]}
    assert [components[name]["licenses"] for name in ("litestar", "cryptography", "google-re2")] == [
        [{"license": {"id": "MIT"}}],
        [{"expression": "Apache-2.0 OR BSD-3-Clause"}],
        [{"license": {"name": "BSD License"}}],
    ]


def test_our_wheel_carries_what_an_installation_links_to(archive: Path) -> None:
    [path] = (archive / "online").glob("threatcloud-*.whl")
    with ZipFile(path) as wheel:
        names = {n.partition(".data/data/")[2] for n in wheel.namelist()}
    for place in ("systemd/threatcloud.service", "litestream.yml", "bin/threatcloud"):
        assert f"share/threatcloud/{place}" in names


def test_a_release_key_that_is_not_there_is_said(here: Target, tmp_path: Path) -> None:
    with pytest.raises(BuildError, match="names /nowhere, and there is no such file"):
        build_archive(output=tmp_path, targets=[here], environment={VARIABLE: "/nowhere"})


def test_a_key_with_a_passphrase_signs_from_the_agent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    need_program("ssh-agent")
    key = tmp_path / "release"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key], check=True)
    monkeypatch.setenv("SSH_AUTH_SOCK", str(tmp_path / "agent"))
    with subprocess.Popen(["ssh-agent", "-D", "-a", tmp_path / "agent"], stdout=subprocess.PIPE) as agent:
        assert agent.stdout is not None
        agent.stdout.readline()  # it listens
        subprocess.run(["ssh-add", "-q", key], check=True)
        subprocess.run(["ssh-keygen", "-q", "-p", "-N", "a passphrase", "-f", key], check=True)
        public = key.with_suffix(".pub")
        signed = tmp_path / "signed"
        signed.write_text("what is signed")
        sign(signed, release_key(tmp_path, {VARIABLE: str(public)}))
        agent.terminate()
    assert public_key(public) == public.read_text() == public_key(key)
    assert signed.with_suffix(".sig").read_text().startswith("-----BEGIN SSH SIGNATURE-----")


def test_a_target_that_there_is_none_of_is_said_with_those_that_there_are() -> None:
    with pytest.raises(BuildError, match=r"no target 'cp39-x86_64'; there are cp311-x86_64, .*cp313-aarch64"):
        Target.parse("cp39-x86_64")


def test_a_wheel_that_a_platform_lacks_is_named(
    here: Target, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "simple" / "no-such-thing").mkdir(parents=True)
    (tmp_path / "simple" / "no-such-thing" / "index.html").write_text("<html></html>")
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_INDEX_URL", (tmp_path / "simple").as_uri())
    pin = Pin("no-such-thing", "1.0", None, frozenset({"0" * 64}))
    with pytest.raises(BuildError, match=rf"no wheel of no-such-thing==1.0 for {here.name}"):
        fetch([pin], here, tmp_path / "cache")
    assert list((tmp_path / "cache").iterdir()) == [], "nothing half done is kept"


def test_an_index_that_does_not_answer_is_said(
    here: Target, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/simple")
    pin = Pin("no-such-thing", "1.0", None, frozenset({"0" * 64}))
    with pytest.raises(BuildError, match="the package index does not answer"):
        fetch([pin], here, tmp_path / "cache")


def test_kept_wheels_that_somebody_changed_are_found_out(here: Target, tmp_path: Path) -> None:
    pins = [
        pin
        for pin in needed(read_lock(REPOSITORY / "requirements" / "server.txt"), here)
        if pin.name == "h11"
    ]
    [wheel] = fetch(pins, here, tmp_path)
    wheel.path.write_bytes(wheel.path.read_bytes() + b" ")
    with pytest.raises(BuildError, match="lack h11"):
        fetch(pins, here, tmp_path)


def test_a_requirement_without_digest_is_refused(tmp_path: Path) -> None:
    (tmp_path / "lock.txt").write_text("h11==0.16.0\n")
    with pytest.raises(BuildError, match="does not pin h11"):
        read_lock(tmp_path / "lock.txt")

"""npm packages: the digest first, then only what may be taken, and the registry from npm's own settings."""

import gzip
import tarfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.federation.sources import npm
from app.federation.sources.collected import SourceError
from app.federation.sources.npm import check_integrity, registry_of, rule_files
from app.federation.upstream import NpmUpstream
from tests.federation.npm_package import integrity, link, pack, regular
from tests.federation.simulator import ELSEWHERE, PACKAGE, Simulator
from tests.federation.sources.conftest import Pull, code, texts

MIB = 1024 * 1024
UPSTREAM = NpmUpstream(name="up")


def test_nothing_that_leads_out_of_the_package_is_taken(simulator: Simulator, pull: Pull, spool: str) -> None:
    simulator.fault = "evil_tar"
    collected = pull(NpmUpstream(name="up", url=simulator.url))
    assert sorted(texts(collected, spool).values()) == sorted(simulator.rules.values())
    assert {item.name for item in collected.items} == {
        f"rules/tool-poisoning/{rule_id}.yaml" for rule_id in simulator.rules
    }


def test_a_tarball_on_another_host_is_fetched_from_the_registry(
    simulator: Simulator, pull: Pull, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("UP_KEY", "the-key")
    simulator.key = "the-key"
    simulator.fault = "tarball_elsewhere"
    collected = pull(NpmUpstream(name="up", url=simulator.url, key="env:UP_KEY"))
    assert collected.outcome == "changed"
    assert simulator.asked(f"/{PACKAGE}/-/{PACKAGE}-4.0.0.tgz") == 1
    assert ELSEWHERE not in str(simulator.requests)


def test_yml_counts_and_other_files_do_not() -> None:
    package = pack(
        {"a": "A"},
        (regular("package/rules/deep/er/b.yml"), b"B"),
        (regular("other-top/rules/c.yaml"), b"C"),
        (regular("package/rules/d.json"), b"D"),
        (regular("package/spec/rules/e.yaml"), b"E"),
        (regular("rules/f.yaml"), b"F"),
    )
    assert [content for _, content in rule_files(package, MIB)] == [b"A", b"B", b"C"]


def test_two_files_of_one_name_are_refused() -> None:
    package = pack({"a": "A"}, (regular("package/rules/tool-poisoning/a.yaml"), b"another"))
    with pytest.raises(SourceError) as caught:
        list(rule_files(package, MIB))
    assert caught.value.failure.code == "mixed-up"


def test_an_archive_of_very_many_files(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.federation.sources.npm.MAX_MEMBERS", 2)
    with pytest.raises(SourceError) as caught:
        list(rule_files(pack({"a": "A"}, (regular("package/README.md"), b"")), MIB))
    assert caught.value.failure.code == "too-large"


def test_what_is_not_taken_counts_too() -> None:
    package = pack({}, (regular("package/dist/engine.js"), bytes(2 * MIB)))
    with pytest.raises(SourceError) as caught:
        list(rule_files(package, MIB))
    assert caught.value.failure.code == "too-large"


def test_a_sparse_file_that_claims_to_be_large_makes_nothing_large() -> None:
    info = regular("package/rules/sparse.yaml")
    info.pax_headers = {
        "GNU.sparse.major": "0",
        "GNU.sparse.minor": "1",
        "GNU.sparse.size": str(10**12),
        "GNU.sparse.map": "0,1",
    }
    assert [content for _, content in rule_files(pack({"a": "A"}, (info, b"x")), MIB)] == [b"A"]


def test_links_inside_the_package_are_not_followed_either() -> None:
    package = pack({"a": "A"}, link("package/rules/b.yaml", "tool-poisoning/a.yaml", tarfile.LNKTYPE))
    assert len(list(rule_files(package, MIB))) == 1


PACKED = pack({"a": "A" * 2000, "b": "B"})


@settings(max_examples=300)
@given(st.data())
def test_a_damaged_archive_is_refused_or_read_but_never_raises_anything_else(data: st.DataObject) -> None:
    """Mutations of the tar inside, since those of the gzip hardly get past its checksum."""
    plain = bytearray(gzip.decompress(PACKED))
    for _ in range(data.draw(st.integers(1, 8))):
        plain[data.draw(st.integers(0, 4096))] = data.draw(st.integers(0, 255))
    damaged = gzip.compress(bytes(plain), 1)[: data.draw(st.integers(0, 5000))]
    for package in (damaged, gzip.compress(bytes(plain), 1)):
        try:
            total = sum(len(content) for _, content in rule_files(package, MIB))
        except SourceError:
            continue
        assert total <= MIB


@pytest.mark.parametrize(
    ("announced", "is_good"),
    [
        (integrity(PACKED), True),
        (integrity(PACKED, "sha384"), True),
        (integrity(PACKED, "sha256"), True),
        (f"{integrity(b'x')} {integrity(PACKED)}", True),
        (f"{integrity(PACKED)}?option", True),
        (integrity(b"x"), False),
        (f"{integrity(b'x')} {integrity(PACKED, 'sha256')}", False),
        (integrity(PACKED, "sha1"), False),
        (integrity(PACKED, "md5"), False),
        ("sha512-", False),
        ("sha512-schlüssel", False),
        ("", False),
    ],
)
def test_the_strongest_digest_decides(announced: str, is_good: bool) -> None:
    if is_good:
        check_integrity(PACKED, announced)
        return
    with pytest.raises(SourceError) as caught:
        check_integrity(PACKED, announced)
    assert caught.value.failure.code == "integrity"


class TestRegistry:
    @pytest.fixture(autouse=True)
    def no_global_file(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(npm, "GLOBAL_FILE", tmp_path / "etc" / "npmrc")

    def test_the_first_of_the_places_wins(self, tmp_path: Path) -> None:
        (tmp_path / ".npmrc").write_text(
            "; mine\n//mirror.example/:_authToken=x\nregistry = https://home.example/\n"
        )
        (tmp_path / "etc").mkdir()
        (tmp_path / "etc" / "npmrc").write_text('registry="https://prefix.example"')
        environ = {"PREFIX": str(tmp_path)}
        assert registry_of(UPSTREAM, environ) == "https://prefix.example"
        environ["HOME"] = str(tmp_path)
        assert registry_of(UPSTREAM, environ) == "https://home.example"
        environ["npm_config_registry"] = "https://lower.example/npm/"
        assert registry_of(UPSTREAM, environ) == "https://lower.example/npm"
        environ["NPM_CONFIG_REGISTRY"] = "https://upper.example"
        assert registry_of(UPSTREAM, environ) == "https://upper.example"
        configured = NpmUpstream(name="up", url="https://configured.example")
        assert registry_of(configured, environ) == "https://configured.example"

    def test_none_is_built_in(self, tmp_path: Path) -> None:
        with pytest.raises(SourceError) as caught:
            registry_of(UPSTREAM, {"HOME": str(tmp_path)})
        assert caught.value.failure.code == "not-found"
        assert "NPM_CONFIG_REGISTRY" in caught.value.failure.message

    @pytest.mark.parametrize(
        "found", ["https://user:hidden@mirror.example", "file:///tmp", "mirror", "http://["]
    )
    def test_what_could_not_be_configured_is_not_taken_from_there_either(self, found: str) -> None:
        with pytest.raises(SourceError) as caught:
            registry_of(UPSTREAM, {"NPM_CONFIG_REGISTRY": found})
        assert caught.value.failure.code == "unreadable"
        assert "hidden" not in caught.value.failure.message

    def test_a_key_does_not_go_over_plain_http_to_a_registry_from_there(self) -> None:
        upstream = NpmUpstream(name="up", key="env:UP_KEY")
        with pytest.raises(SourceError, match="https"):
            registry_of(upstream, {"NPM_CONFIG_REGISTRY": "http://mirror.example"})


def test_the_registry_of_the_environment_is_used(
    simulator: Simulator, pull: Pull, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NPM_CONFIG_REGISTRY", simulator.url)
    assert pull(NpmUpstream(name="up")).outcome == "changed"


def test_a_package_that_is_not_there(simulator: Simulator, pull: Pull) -> None:
    assert code(pull(NpmUpstream(name="up", url=simulator.url, package="@scope/other"))) == "status"
    assert simulator.requests[-1].path == "/@scope%2Fother"

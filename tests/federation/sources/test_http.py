"""The HTTP under all kinds: whom it trusts, what it sends, where it goes, and how long it waits."""

import gzip
import socket
import threading
import tracemalloc
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest

from app.federation.sources.collected import Collected, SourceError
from app.federation.sources.http import Body, _followed, seconds_to_wait
from app.federation.upstream import LiveUpstream
from tests.clock import NOW
from tests.example_rules import rule_text
from tests.federation.authority import Authority
from tests.federation.simulator import Simulator
from tests.federation.sources.conftest import IDS, Pull, code
from tests.server import free_port

RULES = {rule_id: rule_text(rule_id) for rule_id in IDS}


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("other"))


class TestTls:
    def pull(
        self, pull: Pull, authority: Authority, *, asks_clients: bool = False, **options: Any
    ) -> Collected:
        with Simulator(start=NOW, tls=authority, asks_clients=asks_clients) as simulator:
            simulator.rules = RULES
            return pull(LiveUpstream(name="up", url=simulator.url, timeout=5, **options))

    def test_the_authority_in_ca_file_is_trusted(self, pull: Pull, authority: Authority) -> None:
        assert self.pull(pull, authority, ca_file=str(authority.file)).outcome == "changed"

    @pytest.mark.parametrize("has_file", [True, False])
    def test_another_is_not_and_the_sentence_names_ca_file(
        self, pull: Pull, authority: Authority, other: Authority, has_file: bool
    ) -> None:
        options: dict[str, Any] = {"ca_file": str(other.file)} if has_file else {}
        failed = self.pull(pull, authority, **options)
        assert code(failed) == "tls"
        assert failed.failure is not None
        assert "ca_file" in failed.failure.message

    def test_a_client_certificate_is_shown(self, pull: Pull, authority: Authority) -> None:
        mine = str(authority.issue("us"))
        got = self.pull(
            pull, authority, asks_clients=True, ca_file=str(authority.file), client_certificate=mine
        )
        assert got.outcome == "changed"

    def test_without_one_the_failure_says_what_to_look_at(self, pull: Pull, authority: Authority) -> None:
        failed = self.pull(pull, authority, asks_clients=True, ca_file=str(authority.file))
        assert code(failed) == "tls"
        assert failed.failure is not None
        assert "client_certificate" in failed.failure.message

    def test_a_name_that_the_certificate_does_not_hold(self, pull: Pull, authority: Authority) -> None:
        with Simulator(start=NOW, tls=authority) as simulator:
            url = simulator.url.replace("127.0.0.1", "localhost")
            assert code(pull(LiveUpstream(name="up", url=url, ca_file=str(authority.file)))) == "tls"

    def test_a_connection_that_ends_within_an_answer_is_no_fault_of_tls(
        self, pull: Pull, authority: Authority
    ) -> None:
        with Simulator(start=NOW, tls=authority) as simulator:
            simulator.fault = "truncate"
            upstream = LiveUpstream(name="up", url=simulator.url, ca_file=str(authority.file))
            assert code(pull(upstream)) == "truncated"

    def test_a_server_without_tls(self, pull: Pull, simulator: Simulator) -> None:
        url = simulator.url.replace("http:", "https:")
        assert code(pull(LiveUpstream(name="up", url=url, timeout=5))) == "tls"

    @pytest.mark.parametrize("option", ["ca_file", "client_certificate"])
    @pytest.mark.parametrize("content", [None, "not PEM", "locked"])
    def test_a_file_that_cannot_be_used_is_named_and_no_password_is_asked_for(
        self, pull: Pull, authority: Authority, tmp_path: Path, option: str, content: str | None
    ) -> None:
        path = tmp_path / "file.pem"
        if content == "locked":
            if option == "ca_file":
                return
            path = authority.issue("locked", password=b"password")
        elif content is not None:
            path.write_text(content)
        options: dict[str, Any] = {option: str(path)}
        failed = pull(LiveUpstream(name="up", url="https://127.0.0.1:9", **options))
        assert code(failed) == "tls"
        assert failed.failure is not None
        assert failed.failure.message.startswith(f"{option}: {path} ")


class TestProxy:
    def test_the_configured_one_is_gone_through(self, pull: Pull, simulator: Simulator) -> None:
        upstream = LiveUpstream(name="up", url="http://threatcloud.invalid", proxy=simulator.url)
        assert pull(upstream).outcome == "changed"
        assert simulator.requests[0].headers["host"] == "threatcloud.invalid"

    def test_those_in_the_environment_are_not(
        self, pull: Pull, simulator: Simulator, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{free_port()}")
        assert pull(LiveUpstream(name="up", url=simulator.url)).outcome == "changed"

    @pytest.mark.parametrize("proxy", ["ftp://user:hidden@proxy", "http://", "proxy:x", "socks5://proxy"])
    def test_an_address_that_is_none_is_not_repeated(self, pull: Pull, proxy: str) -> None:
        failed = pull(LiveUpstream(name="up", url="http://127.0.0.1:9", proxy=proxy))
        assert code(failed) == "unreachable"
        assert failed.failure is not None
        assert failed.failure.message.startswith("proxy:")
        assert "hidden" not in failed.failure.message

    def test_one_that_refuses_the_connection(self, pull: Pull, simulator: Simulator) -> None:
        """It answers CONNECT with an error, as a proxy does for hosts that nobody may reach."""
        failed = pull(LiveUpstream(name="up", url="https://threatcloud.invalid", proxy=simulator.url))
        assert code(failed) == "unreachable"


class TestBody:
    """A compressed body, chunk by chunk."""

    PACKED = gzip.compress(b"a rule" * 1000)

    def take(self, *chunks: bytes, limit: int = 6000) -> bytes:
        body = Body("gzip", limit)
        for chunk in chunks:
            body.feed(chunk)
        return body.finish()

    def test_it_comes_whole_however_it_is_cut(self) -> None:
        assert self.take(self.PACKED) == b"a rule" * 1000
        assert self.take(*(self.PACKED[i : i + 1] for i in range(len(self.PACKED)))) == b"a rule" * 1000

    @pytest.mark.parametrize(
        "chunks", [[PACKED[:-1]], [PACKED, b"x"], [PACKED + b"x"], [PACKED[:20] + b"x" + PACKED[21:]], [b""]]
    )
    def test_too_little_too_much_or_damaged(self, chunks: list[bytes]) -> None:
        with pytest.raises(SourceError) as caught:
            self.take(*chunks)
        assert caught.value.failure.code == "truncated"

    def test_one_byte_too_many(self) -> None:
        with pytest.raises(SourceError) as caught:
            self.take(self.PACKED, limit=5999)
        assert caught.value.failure.code == "too-large"

    def test_a_bomb_is_never_unpacked_whole(self) -> None:
        bomb = gzip.compress(b" " * 50_000_000)
        tracemalloc.start()
        try:
            with pytest.raises(SourceError):
                self.take(bomb)
            assert tracemalloc.get_traced_memory()[1] < 1_000_000
        finally:
            tracemalloc.stop()


def test_what_says_that_it_is_too_large_is_not_fetched(pull: Pull, simulator: Simulator) -> None:
    simulator.rules = {"ATR-2026-00001": "x" * 200_000}
    simulator.fault = "restamp"  # any: then it does not compress
    failed = pull(LiveUpstream(name="up", url=simulator.url, max_bytes=65_536))
    assert (code(failed), failed.received) == ("too-large", 0)


def test_a_sign_in_page_is_told_as_one(pull: Pull, simulator: Simulator) -> None:
    simulator.fault = "html"
    failed = pull(LiveUpstream(name="up", url=simulator.url))
    assert failed.failure is not None
    assert "captive portal" in failed.failure.message


def test_nobody_listens(pull: Pull) -> None:
    failed = pull(LiveUpstream(name="up", url=f"http://127.0.0.1:{free_port()}"))
    assert code(failed) == "unreachable"
    assert failed.failure is not None
    assert "Connection refused" in failed.failure.message
    assert failed.requests == 1


@pytest.mark.parametrize(
    "host", ["a..b", "a" * 70, "a" * 300 + ".example", "xn--\u00fc", "\u2100.example", "[::1", "a b"]
)
def test_a_name_that_is_none(pull: Pull, host: str) -> None:
    try:
        upstream = LiveUpstream(name="up", url=f"http://{host}")
    except ValueError:
        return
    assert code(pull(upstream)) == "unreachable"


def test_somebody_listens_and_never_answers(pull: Pull) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        assert code(pull(LiveUpstream(name="up", url=url, timeout=1))) == "timeout"


@pytest.mark.parametrize("answer", [b"SSH-2.0-OpenSSH_9.6\r\n", b"HTTP/1.1 200 OK\r\nA: " + b"x" * 200_000])
def test_somebody_who_speaks_no_http(pull: Pull, answer: bytes) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def speak() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.recv(4096)
                connection.sendall(answer)

        speaker = threading.Thread(target=speak)
        speaker.start()
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        assert code(pull(LiveUpstream(name="up", url=url, timeout=5))) == "unreachable"
        speaker.join()


class TestKey:
    def test_it_is_sent_as_a_bearer(
        self, pull: Pull, simulator: Simulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        simulator.key = "the-key"
        (tmp_path / "key").write_text("the-key\n")
        (tmp_path / "key").chmod(0o600)
        monkeypatch.setenv("UP_KEY", " the-key ")
        monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
        for reference in ("env:UP_KEY", f"file:{tmp_path}/key", "credential:key"):
            assert pull(LiveUpstream(name="up", url=simulator.url, key=reference)).outcome == "changed"

    def test_a_wrong_one_or_none_is_told_apart(
        self, pull: Pull, simulator: Simulator, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        simulator.key = "the-key"
        monkeypatch.setenv("UP_KEY", "another")
        wrong = pull(LiveUpstream(name="up", url=simulator.url, key="env:UP_KEY")).failure
        none = pull(LiveUpstream(name="up", url=simulator.url)).failure
        assert wrong is not None
        assert none is not None
        assert (wrong.code, none.code) == ("unauthorized", "unauthorized")
        assert "does not accept" in wrong.message
        assert "wants a key" in none.message

    @pytest.mark.parametrize(
        ("reference", "content", "mode", "says"),
        [
            ("env:UP_NONE", None, None, "environment"),
            ("env:UP_KEY", " \n", None, "empty"),
            ("env:UP_KEY", "one\ntwo", None, "one line"),
            ("env:UP_KEY", "schlüssel", None, "ASCII"),
            ("file:{}", None, None, "No such file"),
            ("file:{}", "a-key", 0o644, "chmod"),
            ("file:{}", "", 0o600, "empty"),
            ("file:{}", b"\xff\xfe", 0o600, "ASCII"),
            ("credential:key", None, None, "No such file"),
        ],
    )
    def test_one_that_cannot_be_used_is_refused_before_anything_is_sent(
        self,
        pull: Pull,
        simulator: Simulator,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
        reference: str,
        content: str | bytes | None,
        mode: int | None,
        says: str,
    ) -> None:
        path = tmp_path / "key"
        monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
        if isinstance(content, str) and mode is None:
            monkeypatch.setenv("UP_KEY", content)
        elif content is not None and mode is not None:
            path.write_bytes(content.encode() if isinstance(content, str) else content)
            path.chmod(mode)
        failed = pull(LiveUpstream(name="up", url=simulator.url, key=reference.format(path)))
        assert code(failed) == "key"
        assert failed.failure is not None
        assert failed.failure.message.startswith(f"key: {reference.format(path)} ")
        assert says in failed.failure.message
        assert not any(word in failed.failure.message for word in ("two", "schl", "a-key"))
        assert simulator.requests == []

    def test_credentials_need_systemd(
        self, pull: Pull, simulator: Simulator, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.delenv("CREDENTIALS_DIRECTORY", raising=False)
        failed = pull(LiveUpstream(name="up", url=simulator.url, key="credential:key"))
        assert failed.failure is not None
        assert "LoadCredential" in failed.failure.message


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("120", 120.0),
        ("Sat, 21 Nov 2026 12:02:00 GMT", 120.0),
        ("Sat, 21 Nov 2026 11:00:00 GMT", 0.0),
        ("99999999999999999999", 86_400.0),
        ("Sat, 21 Nov 2099 12:02:00 GMT", 86_400.0),
        ("-5", None),
        ("soon", None),
        ("", None),
    ],
)
def test_retry_after_is_seconds_or_a_date_and_never_more_than_a_day(
    header: str, seconds: float | None
) -> None:
    assert seconds_to_wait(header, datetime(2026, 11, 21, 12, tzinfo=UTC)) == seconds


@pytest.mark.parametrize(
    ("start", "location", "is_followed"),
    [
        ("http://a.example/x", "/y", True),
        ("http://a.example/x", "https://a.example/y", True),
        ("https://a.example/x", "http://a.example/y", False),
        ("https://a.example/x", "https://a.example:8443/y", False),
        ("https://a.example/x", "https://b.example/y", False),
        ("https://a.example/x", "//b.example/y", False),
        ("https://a.example/x", "ftp://a.example/y", False),
        ("https://a.example/x", "http://[", False),
        ("https://a.example/x", "", False),
    ],
)
def test_where_a_redirect_may_lead(start: str, location: str, is_followed: bool) -> None:
    if is_followed:
        assert _followed(httpx.URL(start), location).path == "/y"
        return
    with pytest.raises(SourceError) as caught:
        _followed(httpx.URL(start), location)
    assert caught.value.failure.code == "redirect"

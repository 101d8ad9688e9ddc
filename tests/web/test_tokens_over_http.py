"""Keys over real HTTP: what is no key of this instance is refused, and no key ever shows in the log."""

import base64
import hashlib
import hmac
import json
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import product
from typing import Any

import httpx
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from app.access.principal import Role
from app.access.tokens import TYPE
from app.signing.keys import USES, SigningKeys
from tests.server import Server
from tests.web.answers import accepted, refused
from tests.web.conftest import UNLIMITED
from tests.web.routes import Operation, all_operations

CHALLENGE = 'Bearer realm="threatcloud"'
WHO = "/api/atr-rules"
"""A route that every key may call."""


class Forger:
    """Knows the instance's private keys, so that only what a test changes is wrong with a token."""

    def __init__(self, server: Server, token: str) -> None:
        self.token = token
        self.header, self.claims = (decoded(part) for part in token.split(".")[:2])
        self.keys = SigningKeys.open(server.state_dir, datetime.now(UTC))

    def sign(
        self,
        header: dict[str, Any] | None = None,
        claims: dict[str, Any] | None = None,
        key: Ed25519PrivateKey | None = None,
    ) -> str:
        """The genuine token with members changed (None removes one)."""
        message = self.message(header, claims)
        return f"{message}.{encoded((key or self.keys.signer('access').private).sign(message.encode()))}"

    def message(self, header: dict[str, Any] | None = None, claims: dict[str, Any] | None = None) -> str:
        """Header and claims of a token, not signed."""
        parts = (self.header | (header or {}), self.claims | (claims or {}))
        kept = ({name: value for name, value in part.items() if value is not None} for part in parts)
        return ".".join(encoded(json.dumps(part).encode()) for part in kept)


def encoded(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def decoded(part: str) -> Any:
    return json.loads(base64.urlsafe_b64decode(part + "=="))


@pytest.fixture(scope="module")
def forger(server: Server) -> Forger:
    return Forger(server, server.issue("agent"))


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Another instance, which lets everybody read."""
    folder = tmp_path_factory.mktemp("other")
    with Server(folder, access_anonymous_read="open", **UNLIMITED) as running:
        yield running


@pytest.fixture(scope="module", autouse=True)
def sent(server: Server) -> Iterator[set[str]]:
    """Every token that a test of this module used; at the end none of them is in the log."""
    tokens: set[str] = {server.admin_token}
    yield tokens
    log = server.log.read_text()
    assert "/api/atr-rules" in log
    parts = {part for token in tokens for part in token.split(".") if len(part) > 40}
    assert len(parts) > 50
    assert [part for part in parts if part in log] == []


def get(server: Server, token: str, sent: set[str], path: str = WHO) -> httpx.Response:
    sent.add(token)
    with httpx.Client(base_url=server.url, verify=False) as client:
        return client.get(path, headers=[(b"Authorization", b"Bearer " + token.encode("latin-1"))])


def refuses(server: Server, token: str, sent: set[str], reason: str) -> None:
    response = get(server, token, sent)
    body = refused(response, 401)
    assert body["detail"] == {"reason": reason}
    assert response.headers["www-authenticate"].startswith(f'{CHALLENGE}, error="invalid_token"')
    assert len(token) < 10 or token not in response.text


def test_the_forger_forges_well(server: Server, forger: Forger, sent: set[str]) -> None:
    """So that what follows is refused for what it changes."""
    accepted(get(server, forger.token, sent))
    accepted(get(server, forger.sign(), sent))


def test_a_request_without_a_key_is_refused(server: Server) -> None:
    with server.client() as client:
        for path in (WHO, "/api/atr-rules/live", "/api/admin/keys", "/api/atr-proposals"):
            response = client.get(path)
            assert refused(response, 401)["detail"] == {"reason": "missing"}
            assert response.headers["www-authenticate"] == CHALLENGE


MALFORMED = [
    "x",
    ".",
    "..",
    "...",
    "null",
    "e30.e30.e30",
    "a.b.c.d",
    "\xe9\xff",
    "a b",
    "a, Bearer b",
    "x" * 2049,
    "x" * 7000,
    "=" * 100,
    "." * 2000,
]


@pytest.mark.parametrize("text", MALFORMED, ids=lambda text: ascii(text)[:20])
def test_a_malformed_key_is_refused(text: str, server: Server, sent: set[str]) -> None:
    refuses(server, text, sent, "malformed")


@pytest.mark.parametrize(
    "header",
    [
        "",
        "Bearer",
        "Basic YTpi",
        "Token {}",
        "Bearer:{}",
        "Bearer\t{}",
        "{}",
        "Digest {}",
        "Bearer{}",
    ],
)
def test_another_scheme_is_refused(header: str, server: Server, forger: Forger) -> None:
    with server.client() as client:
        response = client.get(WHO, headers={"Authorization": header.format(forger.token)})
        assert refused(response, 401)["detail"] == {"reason": "malformed"}


@pytest.mark.parametrize("scheme", ["bearer", "BEARER", "bEaReR"])
def test_the_scheme_in_any_case(scheme: str, server: Server, forger: Forger) -> None:
    """RFC 9110 11.1: the name of the scheme is not case-sensitive."""
    with server.client() as client:
        accepted(client.get(WHO, headers={"Authorization": f"{scheme} {forger.token}"}))


def test_a_token_of_ten_kilobytes_fits_no_header(server: Server) -> None:
    with server.client() as client:
        response = client.get(WHO, headers={"Authorization": f"Bearer {'x' * 10_000}"})
    assert response.status_code == 431
    assert response.json()["ok"] is False
    assert response.json()["request_id"] == response.headers["x-request-id"]


def test_two_authorization_headers_are_refused(server: Server, forger: Forger) -> None:
    """Which of them counts would be a guess, also when one is good, or both are the same."""
    good, bad = f"Bearer {forger.token}", "Bearer x"
    with server.client() as client:
        for pair in ((good, bad), (bad, good), (good, good)):
            response = client.get(WHO, headers=[("Authorization", value) for value in pair])
            assert refused(response, 401)["detail"] == {"reason": "malformed"}


@pytest.mark.parametrize(
    "name", ["key", "token", "access_token", "api_key", "apikey", "authorization", "auth"]
)
def test_a_key_in_the_query_is_no_key(name: str, server: Server, forger: Forger, sent: set[str]) -> None:
    sent.add(forger.token)
    with server.client() as client:
        for value in (forger.token, f"Bearer {forger.token}"):
            response = client.get(WHO, params={name: value})
            assert refused(response, 401)["detail"] == {"reason": "missing"}


@pytest.mark.parametrize("name", ["X-Api-Key", "X-Authorization", "Proxy-Authorization", "Cookie"])
def test_a_key_in_another_header_is_no_key(name: str, server: Server, forger: Forger) -> None:
    with server.client() as client:
        response = client.get(WHO, headers={name: f"Bearer {forger.token}"})
        assert refused(response, 401)["detail"] == {"reason": "missing"}


def test_a_changed_signature_is_refused(server: Server, forger: Forger, sent: set[str]) -> None:
    message, _, signature = forger.token.rpartition(".")
    for changed in (
        signature[:-4] + ("AAAA" if not signature.endswith("AAAA") else "BBBB"),
        "",
        signature[:-1],
        signature + "A",
        encoded(bytes(64)),
        encoded(Ed25519PrivateKey.generate().sign(message.encode())),
        signature.swapcase(),
    ):
        refuses(server, f"{message}.{changed}", sent, "malformed")


@pytest.mark.parametrize(
    "claims",
    [
        {"role": "admin"},
        {"role": "root"},
        {"sub": "admin"},
        {"jti": "0" * 16},
        {"jti": None},
        {"role": None},
        {"sub": None},
        {"iat": None},
        {"aud": None},
        {"aud": "elsewhere"},
        {"aud": ["threatcloud", "elsewhere"]},
        {"iss": None},
        {"iss": "urn:threatcloud:other"},
        {"exp": "soon"},
        {"exp": 1e300},
        {"exp": 10**17},
        {"exp": True},
        {"jti": ["x"]},
        {"jti": "x' OR '1'='1"},
        {"extra": 1},
        {"nbf": 4_000_000_000},
    ],
    ids=str,
)
def test_claims_that_we_never_sign_are_refused(
    claims: dict[str, Any], server: Server, forger: Forger, sent: set[str]
) -> None:
    """With a genuine signature, which only a leaked or restored key could make."""
    response = get(server, forger.sign(claims=claims), sent)
    assert refused(response, 401)["detail"]["reason"] in {"malformed", "unknown"}


@pytest.mark.parametrize(
    "header",
    [
        {"alg": None},
        {"alg": "RS256"},
        {"alg": "Ed25519"},
        {"kid": None},
        {"kid": ""},
        {"kid": "../../admin.key"},
        {"kid": ["access"]},
        {"kid": "x" * 1000},
        {"typ": None},
        {"typ": "JWT"},
        {"typ": "at+jwt"},
        {"crit": ["exp"]},
        {"jku": "http://127.0.0.1/keys"},
        {"jwk": {"kty": "OKP", "crv": "Ed25519", "x": "A" * 43}},
        {"x5u": "http://127.0.0.1/"},
        {"b64": False},
        {"zip": "DEF"},
    ],
    ids=str,
)
def test_headers_that_we_never_write_are_refused(
    header: dict[str, Any], server: Server, forger: Forger, sent: set[str]
) -> None:
    refuses(server, forger.sign(header=header), sent, "malformed")


@pytest.mark.parametrize("algorithm", ["none", "None", "NONE", "nOnE", ""])
def test_alg_none_is_refused(algorithm: str, server: Server, forger: Forger, sent: set[str]) -> None:
    message = forger.message({"alg": algorithm})
    for signature in ("", forger.token.rpartition(".")[2]):
        refuses(server, f"{message}.{signature}", sent, "malformed")


def test_hs256_with_whatever_we_publish_is_refused(server: Server, forger: Forger, sent: set[str]) -> None:
    """The classic confusion: a public key taken for a shared secret."""
    with server.client() as client:
        secrets = [client.get(f"/.well-known/{use}-key.pem").content for use in ("rule", "manifest")]
        jwks = client.get("/.well-known/jwks.json").json()["keys"]
    assert {jwk["threatcloud_use"] for jwk in jwks} == set(USES)
    for jwk in jwks:
        raw = base64.urlsafe_b64decode(jwk["x"] + "=")
        key = Ed25519PublicKey.from_public_bytes(raw)
        pem, der = (
            key.public_bytes(encoding, serialization.PublicFormat.SubjectPublicKeyInfo)
            for encoding in (serialization.Encoding.PEM, serialization.Encoding.DER)
        )
        secrets += [raw, jwk["x"].encode(), pem, pem.strip(), der, jwk["kid"].encode()]
    kids = [jwk["kid"] for jwk in jwks]
    for algorithm, kid in product(("HS256", "HS512"), kids):
        digest = {"HS256": hashlib.sha256, "HS512": hashlib.sha512}[algorithm]
        message = forger.message({"alg": algorithm, "kid": kid})
        for secret in (*secrets, b""):
            signature = encoded(hmac.new(secret, message.encode(), digest).digest())
            refuses(server, f"{message}.{signature}", sent, "malformed")


def test_our_other_keys_sign_no_access(server: Server, forger: Forger, sent: set[str]) -> None:
    for use in ("rule", "manifest"):
        signer = forger.keys.signer(use)
        for kid in (signer.kid, forger.header["kid"]):
            refuses(server, forger.sign({"kid": kid}, key=signer.private), sent, "malformed")


def test_our_other_documents_are_no_keys(server: Server, forger: Forger, sent: set[str]) -> None:
    with server.admin as admin:
        refuses(server, admin.get(WHO).headers["threatcloud-freshness"], sent, "malformed")
        manifest = accepted(admin.get("/api/publications/current"))["manifest"]
    refuses(server, manifest, sent, "malformed")


def test_a_token_of_another_instance_is_refused(server: Server, other: Server, sent: set[str]) -> None:
    for token in (other.admin_token, other.issue("agent")):
        refuses(server, token, sent, "malformed")
    refuses(other, server.admin_token, sent, "malformed")


def test_an_expired_key_is_refused(server: Server, forger: Forger, sent: set[str]) -> None:
    now = int(datetime.now(UTC).timestamp())
    for past in (now - 1, now - 86_400, 0, -1):
        refuses(server, forger.sign(claims={"exp": past}), sent, "expired")
    accepted(get(server, forger.sign(claims={"exp": now + 60}), sent))


def test_a_key_expires_while_it_is_in_use(server: Server, sent: set[str]) -> None:
    end = datetime.now(UTC).replace(microsecond=0) + timedelta(seconds=2)
    token = server.issue("agent", expires=end.isoformat())
    with server.client(token) as client:
        accepted(client.get(WHO))
        while datetime.now(UTC) < end:
            time.sleep(0.05)
        assert refused(client.get(WHO), 401)["detail"] == {"reason": "expired"}
    sent.add(token)


def test_a_revoked_key_is_refused_from_the_next_request_on(server: Server, sent: set[str]) -> None:
    token = server.issue("agent")
    key_id = decoded(token.split(".")[1])["jti"]
    with server.client(token) as client, server.admin as admin:
        accepted(client.get(WHO))
        assert accepted(admin.delete(f"/api/admin/keys/{key_id}"))["revoked_at"] is not None
        assert refused(client.get(WHO), 401)["detail"] == {"reason": "revoked"}
        again = admin.delete(f"/api/admin/keys/{key_id}")
        assert accepted(again)["revoked_at"] is not None
    refuses(server, token, sent, "revoked")


def test_a_revocation_outlives_a_restart(tmp_path_factory: pytest.TempPathFactory, sent: set[str]) -> None:
    server = Server(tmp_path_factory.mktemp("restarted"), **UNLIMITED)
    with server:
        kept, revoked = server.issue("agent"), server.issue("agent")
        with server.admin as admin:
            accepted(admin.delete(f"/api/admin/keys/{decoded(revoked.split('.')[1])['jti']}"))
        server.kill()
        server.start()
        accepted(get(server, kept, sent))
        accepted(get(server, server.admin_token, sent))
        refuses(server, revoked, sent, "revoked")


OPERATIONS = [operation for operation in all_operations() if operation.roles]


@pytest.fixture(scope="module")
def by_role(server: Server, sent: set[str]) -> Iterator[dict[Role, httpx.Client]]:
    tokens = {role: server.issue(role.value) for role in Role}
    sent.update(tokens.values())
    clients = {role: server.client(token) for role, token in tokens.items()}
    yield clients
    for client in clients.values():
        client.close()


@pytest.mark.parametrize("operation", OPERATIONS, ids=str)
def test_each_role_goes_as_far_as_its_routes(operation: Operation, by_role: dict[Role, httpx.Client]) -> None:
    for role, client in by_role.items():
        response = client.request(operation.method, operation.filled)
        if role in operation.roles:
            assert response.status_code not in {401, 403}, response.text
        else:
            body = refused(response, 403)
            assert body["detail"] == {"role": role, "allowed": sorted(operation.roles)}
            assert role in body["error"]


def test_a_wrong_role_learns_nothing_of_what_is_behind(by_role: dict[Role, httpx.Client]) -> None:
    """The role is asked before the body is read or an id looked up."""
    agent = by_role[Role.AGENT]
    refused(agent.post("/api/admin/keys", content=b"\xff"), 403)
    refused(agent.get("/api/admin/keys?limit=x"), 403)
    refused(agent.get("/api/atr-proposals/none"), 403)


def test_a_key_that_is_refused_does_not_fall_back_to_nobody(other: Server, server: Server) -> None:
    """Where everybody may read, a bad key still gets a 401, and only the open routes are open."""
    with other.client() as nobody, other.client(server.admin_token) as stranger:
        for path in (WHO, "/api/rules", "/api/publications/current"):
            accepted(nobody.get(path))
            refused(stranger.get(path), 401)
        for path in ("/api/atr-rules/live", "/api/admin/keys", "/api/audit-log", "/api/atr-proposals"):
            assert refused(nobody.get(path), 401)["detail"] == {"reason": "missing"}


def test_a_public_route_does_not_look_at_keys(server: Server) -> None:
    with server.client("x") as client:
        accepted(client.get("/health"))


def test_no_token_is_kept(server: Server, by_role: dict[Role, httpx.Client]) -> None:
    """Neither in the database nor anywhere else in the state folder, but for the admin's own file."""
    tokens = [client.headers["Authorization"].removeprefix("Bearer ") for client in by_role.values()]
    assert all(decoded(token.split(".")[0])["typ"] == TYPE for token in tokens)
    for path in server.state_dir.rglob("*"):
        if path.is_file() and path.name != "admin.key":
            content = path.read_bytes()
            assert not [token for token in tokens if token.rpartition(".")[2].encode() in content], path

"""`threatcloud signing-key`: rotation and retirement of each kind of key."""

from pathlib import Path

from tests.flows.fleet import by_id, poll, promoted
from tests.flows.guard import verified_in_node
from tests.server import Server


def test_old_tokens_outlive_a_rotation_until_their_key_is_retired(own: Server) -> None:
    with own.agent() as agent:
        poll(agent)
        old = active(own, "access")
        new = own.cli_json("signing-key", "rotate", "access")["kid"]
        assert active(own, "access") == new != old
        poll(agent)
        with own.agent("enrolled-after") as later:
            poll(later)
            refused = own.cli("signing-key", "retire", new, check=False)
            assert refused.returncode == 1
            assert "rotate it first" in refused.stderr
            own.cli("signing-key", "retire", old)
            assert agent.get("/api/atr-rules").status_code == 401
            poll(later)


def test_rotating_the_rule_key_signs_anew_at_once(server: Server, tmp_path: Path) -> None:
    _, rule_id = promoted(server)
    with server.agent() as agent:
        before = poll(agent)
        old = active(server, "rule")
        server.cli("signing-key", "rotate", "rule")
        after = poll(agent, **{"If-None-Match": before.headers["etag"]})
        assert after.status_code == 200
        assert after.json()["meta"]["serial"] == before.json()["meta"]["serial"] + 1
        one, other = by_id(before)[rule_id], by_id(after)[rule_id]
        assert one["signature"] != other["signature"]
        assert {**one, "signature": ""} == {**other, "signature": ""}
        pem = agent.get("/.well-known/rule-key.pem").text
        assert set(verified_in_node(after.content, pem, tmp_path).values()) == {True}
        assert set(verified_in_node(before.content, pem, tmp_path).values()) == {False}
        server.cli("signing-key", "retire", old)
        assert poll(agent, **{"If-None-Match": after.headers["etag"]}).status_code == 304


def test_rotating_the_manifest_key_leaves_nothing_signed_by_the_old_one(server: Server) -> None:
    with server.agent() as agent:
        poll(agent)
        old = active(server, "manifest")
        new = server.cli_json("signing-key", "rotate", "manifest")["kid"]
        server.cli("signing-key", "retire", old)
        manifest = agent.get("/api/publications/current").json()["data"]["manifest"]
        freshness = poll(agent).headers["threatcloud-freshness"]
        published = {key["kid"] for key in agent.get("/.well-known/jwks.json").json()["keys"]}
    assert kid_of(manifest) == kid_of(freshness) == new
    assert new in published
    assert old not in published


def test_lost_rule_keys_are_replaced_and_what_is_served_is_signed_with_the_new_ones(
    server: Server, tmp_path: Path
) -> None:
    """As after a restore from a backup, which has no private keys."""
    _, rule_id = promoted(server)
    server.stop()
    for key in (server.state_dir / "keys").glob("rule-*.pem"):
        key.unlink()
    server.start()
    with server.agent() as agent:
        body, pem = poll(agent).content, agent.get("/.well-known/rule-key.pem").text
    results = verified_in_node(body, pem, tmp_path)
    assert rule_id in results
    assert all(results.values())


def active(server: Server, use: str) -> str:
    """The id of the key that signs."""
    kid: str = next(
        k["kid"] for k in server.cli_json("signing-key", "list") if k["use"] == use and k["active"]
    )
    return kid


def kid_of(token: str) -> str:
    """The key id in a JWS's header."""
    import jwt  # noqa: PLC0415

    kid: str = jwt.get_unverified_header(token)["kid"]
    return kid

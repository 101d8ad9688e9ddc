"""Reading the configuration: every mistake at once, each with its name."""

from pathlib import Path

import pytest

from app.config import ConfigError, load_config


def load(tmp_path: Path, text: str, **environ: str) -> list[str]:
    path = tmp_path / "config.toml"
    path.write_text(text)
    with pytest.raises(ConfigError) as caught:
        load_config(path, environ)
    return caught.value.errors


def test_nothing_at_all_is_the_defaults() -> None:
    config = load_config(None, {})
    assert (config.server.port, config.consensus.threshold, config.upstream) == (8080, 3, ())


def test_the_environment_wins_over_the_file_and_long_names_over_short_ones(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    path.write_text('[server]\nport = 1000\nstate_dir = "file"\n[access]\nnetworks = ["10.0.0.0/8"]\n')
    environ = {
        "THREATCLOUD_PORT": "2000",
        "THREATCLOUD_SERVER_PORT": "3000",
        "THREATCLOUD_STATE_DIR": "short",
        "THREATCLOUD_ACCESS_NETWORKS": "192.0.2.0/24, 2001:db8::/32",
        "THREATCLOUD_LOG_REQUESTS": "false",
        "THREATCLOUD_SERVER_BODY_SECONDS": "1.5",
    }
    config = load_config(path, environ)
    assert config.server.port == 3000
    assert config.server.state_dir == "short"
    assert config.access.networks == ("192.0.2.0/24", "2001:db8::/32")
    assert config.log.requests is False
    assert config.server.body_seconds == 1.5


def test_every_mistake_is_reported_at_once(tmp_path: Path) -> None:
    text = """
[server]
port = "8080"
hots = "0.0.0.0"
[acess]
[consensus]
threshold = 0
self_registered = "sometimes"
[[upstream]]
name = "ATR"
kind = "package"
package = "pyatr"
"""
    mistakes = load(tmp_path, text, THREATCLOUD_LIMITS_LIVE_BURST="many", THREATCLOUD_SERVER_PROT="1")
    assert len(mistakes) == 8
    for start in (
        "server.port: Expected `int`",
        "server.hots: there is no such option; did you mean host?",
        "[acess]: there is no such section; did you mean access?",
        "consensus.threshold: Expected `int` >= 1",
        "consensus.self_registered: Invalid enum value",
        "upstream number 1: name: Expected `str` matching",
        "limits.live_burst: Expected `int`",
        "THREATCLOUD_SERVER_PROT: [server] has no option 'prot'",
    ):
        assert any(mistake.startswith(start) for mistake in mistakes), start


@pytest.mark.parametrize(
    ("text", "mistake"),
    [
        ("[consensus]\nthreshold = 2\ncontent_quorum = 3\n", "consensus.content_quorum (3) is larger"),
        ('[access]\nnetworks = ["10.0.0.0/33"]\n', "access: "),
        ('[consensus]\nnat_networks = ["everywhere"]\n', "consensus.nat_networks: "),
        ("server = 3\n", "server: a section is needed here, written [server]"),
        ('upstream = "atr"\n', "upstream: write each one as [[upstream]]"),
        (
            '[[upstream]]\nname = "a"\nkind = "package"\npackage = "x"\n' * 2,
            "upstream 'a': the name is used twice",
        ),
        ('[[upstream]]\nname = "a\\n"\nkind = "npm"\n', "upstream number 1: name: Expected `str` matching"),
        ('[[upstream]]\nname = "a"\nkind = "npm"\npackage = ".."\n', "package: Expected `str` matching"),
        (
            '[[overlay]]\nrule = "A\\n"\naction = "disable"\nreason = "r"\nowner = "o"\n',
            "rule: Expected `str`",
        ),
        ("[server\n", ""),
    ],
)
def test_an_error_is_one_clear_line(tmp_path: Path, text: str, mistake: str) -> None:
    (found,) = load(tmp_path, text)
    assert mistake in found
    assert "\n" not in found


def test_a_file_that_is_not_there_or_not_readable_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="there is no such file"):
        load_config(tmp_path / "missing.toml", {})
    with pytest.raises(ConfigError, match="cannot be read"):
        load_config(tmp_path, {})
    (tmp_path / "latin.toml").write_bytes(b'[server]\nhost = "\xff"\n')
    with pytest.raises(ConfigError, match="not TOML"):
        load_config(tmp_path / "latin.toml", {})

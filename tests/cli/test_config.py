"""`threatcloud config`: errors, the example, and values in force."""

import subprocess
from pathlib import Path

from tests.server import Server


def check_config(tmp_path: Path, text: str, **environ: str) -> subprocess.CompletedProcess[str]:
    server = Server(tmp_path, config=text)
    server.environ |= environ
    return server.cli("config", "check", "--config", str(server.config), check=False)


def test_every_mistake_in_the_configuration_is_one_line(tmp_path: Path) -> None:
    done = check_config(
        tmp_path,
        '[server]\nport = "8080"\nhots = "::"\n[acess]\n[access]\nnetworks = ["10.0.0.0/33"]\n'
        "[consensus]\nthreshold = 2\ncontent_quorum = 3\n",
        THREATCLOUD_LIMITS_LIVE_BURST="many",
        THREATCLOUD_SERVER_PROT="1",
        THREATCLOUD_ACESS_REGISTRATION="open",
    )
    assert done.returncode == 2
    assert done.stdout == ""
    lines = done.stderr.splitlines()
    assert all(line.startswith("configuration: ") for line in lines)
    expected = (
        "server.port: Expected `int`, got `str`",
        "server.hots: there is no such option; did you mean host?",
        "[acess]: there is no such section; did you mean access?",
        "access: '10.0.0.0/33' is not a network",
        "consensus.content_quorum (3) is larger than threshold (2)",
        "limits.live_burst: Expected `int`",
        "THREATCLOUD_SERVER_PROT: [server] has no option 'prot'; did you mean port?",
        "THREATCLOUD_ACESS_REGISTRATION: there is no section [acess]; did you mean access?",
    )
    for mistake in expected:
        assert sum(line.startswith(f"configuration: {mistake}") for line in lines) == 1, mistake
    assert len(lines) == len(expected)


def test_a_server_with_a_broken_configuration_does_not_start(tmp_path: Path) -> None:
    server = Server(tmp_path, config="[limits]\nlive_burst = 0\n")
    done = server.cli("serve", "--config", str(server.config), check=False)
    assert done.returncode == 2
    assert done.stderr == "configuration: limits.live_burst: Expected `int` >= 1\n"
    assert not server.state_dir.exists()


def test_a_configuration_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    server = Server(tmp_path)
    missing = server.cli("config", "check", "--config", str(tmp_path / "missing.toml"), check=False)
    folder = server.cli("config", "check", "--config", str(tmp_path), check=False)
    (tmp_path / "latin.toml").write_bytes(b'[server]\nhost = "\xff"\n')
    latin = server.cli("config", "check", "--config", str(tmp_path / "latin.toml"), check=False)
    assert (missing.returncode, folder.returncode, latin.returncode) == (2, 2, 2)
    assert "missing.toml: there is no such file" in missing.stderr
    assert "is a directory" in folder.stderr
    assert "latin.toml: not TOML" in latin.stderr


def test_the_example_is_valid_and_shows_the_defaults(tmp_path: Path) -> None:
    bare = Server(tmp_path / "bare")
    example = Server(tmp_path / "example", config=bare.cli("config", "example").stdout)
    for server in (bare, example):
        for name in ("THREATCLOUD_PORT", "THREATCLOUD_STATE_DIR"):
            del server.environ[name]
    assert (
        example.cli("config", "check", "--config", str(example.config)).stdout
        == "the configuration is valid\n"
    )
    defaults = bare.cli_json("config", "show", "--config", str(bare.config))
    shown_example = example.cli_json("config", "show", "--config", str(example.config))
    (upstream,) = shown_example.pop("upstream")
    assert {name: upstream[name] for name in ("name", "kind", "package", "policy")} == {
        "name": "atr",
        "kind": "package",
        "package": "pyatr",
        "policy": "mirror",
    }
    assert defaults.pop("upstream") == []
    assert shown_example == defaults
    assert "server.port = 8080" in bare.cli("config", "show", "--config", str(bare.config)).stdout

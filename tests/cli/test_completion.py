"""`threatcloud completion`: the script works in a real bash; the others are printed."""

import subprocess

import pytest

from tests.needs import need_program
from tests.server import COMMAND, Server


def completed(words: list[str]) -> list[str]:
    """Return what bash offers after these words, the last of which is not finished."""
    need_program("bash")
    script = (
        'PATH="$1:$PATH"; shift\n'
        'eval "$(threatcloud completion bash)"\n'
        "complete -p threatcloud >/dev/null || exit 3\n"
        'COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1))\n'
        'compopt() { :; }; _threatcloud_completion threatcloud "${@: -1}"\n'
        'printf "%s\\n" "${COMPREPLY[@]}"\n'
    )
    done = subprocess.run(
        ["bash", "--norc", "-c", script, "bash", str(COMMAND.parent), *words],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stderr == ""
    return done.stdout.split()


@pytest.mark.parametrize(
    ("words", "offered"),
    [
        (["threatcloud", "ski"], ["skill-blacklist", "skill-whitelist"]),
        (["threatcloud", "proposal", "re"], ["reject", "reopen"]),
        (["threatcloud", "upstream", "list-"], ["list-pending", "list-set-aside", "list-versions"]),
        (["threatcloud", "key", "issue", "--role", "a"], ["agent", "admin"]),
        (["threatcloud", "key", "list", "--li"], ["--limit"]),
        (["threatcloud", "rules", "im"], ["import"]),  # under an old name, and without its note
    ],
)
def test_bash_completes(words: list[str], offered: list[str]) -> None:
    assert completed(words) == offered


def test_bash_offers_no_old_names() -> None:
    offered = completed(["threatcloud", ""])
    assert {"rule", "promotion", "subject"} <= set(offered)
    assert not {"rules", "promote", "intel"} & set(offered)


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_a_script_is_printed_for_each_shell(server: Server, shell: str) -> None:
    script = server.cli("completion", shell).stdout
    assert f"_THREATCLOUD_COMPLETE={shell}_complete" in script
    assert server.cli("completion", "tcsh", check=False).returncode == 2

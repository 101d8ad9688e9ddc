"""The command line: every verb works beside a running server and without one.

A verb is a call to the product's own HTTP API, over the control socket of the server that holds the state
folder, or, when none runs, to the same application inside this process, which then holds the lock itself. So
each act has one implementation, one audit entry and one writer (decision 0005).
"""

import importlib

import click

from app import __version__

COMMANDS = {
    "serve": "serve:serve",
    "key": "keys:key",
    "rules": "rules:rules",
    "upstream": "upstreams:upstream",
    "overlay": "overlays:overlay",
    "proposal": "proposals:proposal",
    "feedback": "feedback:feedback",
    "promote": "promote:promote",
    "publication": "publications:publication",
    "bundle": "bundles:bundle",
    "fleet": "fleet:fleet",
    "intel": "intel:intel",
    "audit": "audit:audit",
    "signing-key": "signing_keys:signing_key",
    "backup": "backups:backup",
    "snapshot": "snapshots:snapshot",
    "upgrade": "upgrade:upgrade",
    "doctor": "doctor:doctor",
    "config": "config:config",
}


class _Commands(click.Group):
    """Imports a command when it is asked for: the server's master process needs none of the others."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 (click's signature)
        """Every command, in the order of a first day with the product."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        """The command of that name, or None."""
        if cmd_name not in COMMANDS:
            return None
        module, _, name = COMMANDS[cmd_name].partition(":")
        command: click.Command = getattr(importlib.import_module(f"app.cli.{module}"), name)
        return command


@click.command(
    cls=_Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110}
)
@click.version_option(__version__, prog_name="threatcloud")
def main() -> None:
    """Private Threat Cloud: consensus, federation and signed distribution of ATR rules."""

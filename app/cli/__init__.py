"""The command line: every command works beside a running server and without one.

A command is a call to the product's own HTTP API, over the control socket of the server that holds the state
folder, or, when none runs, to the same application inside this process, which then holds the lock itself. So
each act has one implementation, one audit entry and one writer (decision 0005).

The first word of a command is a noun, and `app/cli/NOUN.py` holds it. The second word is a verb: list, show, add,
remove, import, approve, reject, ...
"""

import importlib
from collections.abc import Iterator

import click
from click.shell_completion import CompletionItem

from app import __version__
from app.cli.renamed import current_words, divided

SECTIONS = {
    "Server": {
        "serve": "Run the server until it is stopped.",
        "config": "Check and show the configuration.",
        "doctor": "Check the installation, and say what to do where something is wrong.",
        "audit": "Read and check the append-only, hash-chained audit log.",
        "completion": "Print the script that completes commands in your shell.",
    },
    "Rules": {
        "rule": "Import, list, check and withdraw rules.",
        "upstream": "Pull public rules, and decide on changes that wait for an admin.",
        "overlay": "Decide on upstream's rules yourself; no update overwrites these decisions.",
        "publication": "Show, compare and roll back the signed sets of rules that clients are served.",
        "bundle": "Carry rules to instances without a network, as signed files.",
    },
    "Consensus": {
        "proposal": "Review what the fleet proposes.",
        "promotion": "Publish what enough independent scanners confirmed.",
        "feedback": "Review what agents report about served rules.",
    },
    "Fleet and threat intelligence": {
        "key": "Issue, list and revoke the keys of agents, partners, reviewers and admins.",
        "fleet": "List agents, and write what their hosts need.",
        "threat": "List what the fleet reports.",
        "indicator": "List and edit the addresses and domains in the feeds.",
        "skill-blacklist": "List and edit the skills that are a risk.",
        "skill-whitelist": "List and edit the skills that can be trusted.",
        "subject": "Export or erase everything that is tied to one client.",
    },
    "Upkeep": {
        "signing-key": "Rotate the keys that sign access tokens, rules and manifests.",
        "backup": "Make, verify and restore backups.",
        "snapshot": "Restore the database as it was before an upgrade.",
        "upgrade": "Check, with the new release's command, whether an upgrade is allowed and works.",
    },
}
"""Title -> name of a command -> what it does; a test holds the sentences against the commands' own.

They stand here too so that neither help nor completion imports all of the product.
"""
SUMMARIES = {name: summary for section in SECTIONS.values() for name, summary in section.items()}


class _Commands(click.Group):
    """The commands of `SECTIONS`; each is imported when it is called: the server needs none of the others."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 (click's signature)
        """Return every command in the order of the help."""
        return list(SUMMARIES)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        """Import and return the command of that name, or None."""
        if cmd_name not in SUMMARIES:
            return None
        name = cmd_name.replace("-", "_")
        command: click.Command = getattr(importlib.import_module(f"app.cli.{name}"), name)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find a command; one that has another name now is found by its old one, with a note on stderr."""
        found = current_words(args)
        if found is not None:
            old, new, rest = found
            if not ctx.resilient_parsing:  # the shell completes a line
                click.echo(f"threatcloud: '{old}' is now '{new}'", err=True)
            args = [*new.split(), *rest]
        elif parts := divided(args[0]):
            raise click.UsageError(f"'{args[0]}' is divided now:\n{parts}", ctx)
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        """Write the commands in their sections, aligned with each other."""
        width = max(map(len, SUMMARIES))
        for title, commands in SECTIONS.items():
            with formatter.section(title):
                formatter.write_dl([(name.ljust(width), summary) for name, summary in commands.items()])

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """Return the commands and options that begin with these characters."""
        return [*_matching(incomplete), *click.Command.shell_complete(self, ctx, incomplete)]


def _matching(incomplete: str) -> Iterator[CompletionItem]:
    for name, summary in SUMMARIES.items():
        if name.startswith(incomplete):
            yield CompletionItem(name, help=summary)


@click.command(
    cls=_Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110}
)
@click.version_option(__version__, prog_name="threatcloud")
def main() -> None:
    """Run and administer a private Threat Cloud: consensus, federation and signed distribution of ATR rules."""

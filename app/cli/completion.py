"""`threatcloud completion`: a script for the shell."""

import click
from click.shell_completion import get_completion_class


@click.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def completion(context: click.Context, shell: str) -> None:
    """Print the script that completes commands in your shell.

    In bash, for this session: eval "$(threatcloud completion bash)". For every session, write the script to
    /etc/bash_completion.d/threatcloud, or for fish to ~/.config/fish/completions/threatcloud.fish; in zsh, call
    eval "$(threatcloud completion zsh)" in ~/.zshrc.
    """
    kind = get_completion_class(shell)
    if kind is None:
        raise click.ClickException(f"click knows no completion for {shell}")
    click.echo(kind(context.find_root().command, {}, "threatcloud", "_THREATCLOUD_COMPLETE").source())

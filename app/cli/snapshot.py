"""`threatcloud snapshot`: list, restore."""

from datetime import UTC, datetime
from pathlib import Path

import click
import msgspec

from app.backup.errors import BackupError
from app.backup.snapshots import list_snapshots, restore_snapshot
from app.cli.backup import prepare
from app.cli.instance import operator_name
from app.cli.options import config_option, configured, json_option
from app.cli.output import columns, fields, show


@click.group()
def snapshot() -> None:
    """Restore the database as it was before an upgrade."""


@snapshot.command("list")
@config_option
@json_option
def list_(config_path: Path | None, as_json: bool) -> None:
    """List the snapshots of the database, newest first, and say which ones this release cannot restore."""
    found = list_snapshots(configured(config_path).state_dir)
    data = msgspec.to_builtins(found)
    names = ("name", "at", "bytes", "migrations", "serial", "problem")
    show(data, as_json=as_json, text=columns(data, names))


@snapshot.command()
@click.argument("name")
@config_option
@json_option
def restore(name: str, config_path: Path | None, as_json: bool) -> None:
    """Restore a snapshot in place of the database, which is moved aside; the server must be stopped.

    The instance loses what was written since the snapshot; the folder that is printed keeps it.
    """
    config = configured(config_path)
    prepare(config.state_dir)
    try:
        restored = restore_snapshot(name, config.state_dir, operator_name(), datetime.now(UTC))
    except BackupError as error:
        raise click.ClickException(str(error)) from error
    data = msgspec.to_builtins(restored)
    show(data, as_json=as_json, text=fields(data))

"""`threatcloud snapshot`: list, restore."""

from datetime import UTC, datetime
from pathlib import Path

import click
import msgspec

from app.backup.errors import BackupError
from app.backup.snapshots import list_snapshots, restore_snapshot
from app.cli.backups import prepare
from app.cli.instance import operator_name
from app.cli.options import config_option, configured, json_option
from app.cli.output import fields, show, table


@click.group()
def snapshot() -> None:
    """The database as it was before an upgrade changed its schema."""


@snapshot.command("list")
@config_option
@json_option
def list_(config_path: Path | None, as_json: bool) -> None:
    """List the snapshots, newest first, and what this release could not restore."""
    found = list_snapshots(configured(config_path).state_dir)
    columns = ("name", "at", "bytes", "migrations", "serial", "problem")
    rows = [[getattr(item, name) for name in columns] for item in found]
    show(msgspec.to_builtins(found), as_json=as_json, text=table(rows, columns))


@snapshot.command()
@click.argument("name")
@config_option
@json_option
def restore(name: str, config_path: Path | None, as_json: bool) -> None:
    """Put a snapshot in the place of the database, which is moved aside. The server must be stopped.

    What was written since the snapshot is lost to the instance, and kept in the folder that is printed.
    """
    config = configured(config_path)
    prepare(config.state_dir)
    try:
        restored = restore_snapshot(name, config.state_dir, operator_name(), datetime.now(UTC))
    except BackupError as error:
        raise click.ClickException(str(error)) from error
    data = msgspec.to_builtins(restored)
    show(data, as_json=as_json, text=fields(data, tuple(data)))

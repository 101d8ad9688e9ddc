"""`threatcloud backup`: create, list, verify, restore, keygen."""

import os
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO

import click
import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from app.backup.catalog import list_backup_files
from app.backup.cipher import Identity, new_identity, read_identities
from app.backup.create import BackupSource, backup_folder, create_backup
from app.backup.errors import BackupError
from app.backup.host import scratch_folder
from app.backup.restore import RestoreOptions, is_encrypted, restore_backup, unpack_and_verify
from app.backup.status import read_backup_status
from app.cli.instance import operator_name
from app.cli.options import config_file, config_option, configured, json_option
from app.cli.output import columns, fields, show
from app.cli.whole_file import refuse_existing, whole_file
from app.config import ConfigError
from app.http.timestamps import to_text
from app.signing.jws import StatementError, read_keys
from app.web.server import prepare_state_dir

_MAX_KEY_FILE_BYTES = 64 * 1024

archive_argument = click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
identity_option = click.option(
    "--identity",
    type=click.File("rb"),
    help="Decrypt it with the age identity in this file; - for standard input.",
)
key_option = click.option(
    "--key",
    "key_file",
    type=click.File("rb"),
    help="Require that this instance made it: a PEM copy of its /.well-known/manifest-key.pem.",
)


@click.group()
def backup() -> None:
    """Make, verify and restore backups.

    A backup is one signed file that brings the instance back; it is made while the instance runs, and verified before
    it counts.
    """


@backup.command()
@click.option(
    "--output",
    type=click.Path(file_okay=False, path_type=Path),
    help="Write into this folder (default: backup.folder); nothing older is deleted there.",
)
@click.option("--label", help="Put this into the name; backups with a label are kept apart from the others.")
@config_option
@json_option
def create(output: Path | None, label: str | None, config_path: Path | None, as_json: bool) -> None:
    """Make a backup, verify it, then delete what exceeds backup.keep; exit code 1 when it is not good."""
    config = configured(config_path)
    file = config_file(config_path)
    source = BackupSource(config.state_dir, file.absolute() if file is not None else None)
    prepare(config.state_dir)
    try:
        made = create_backup(
            source, output.absolute() if output else None, config.backup, label, datetime.now(UTC)
        )
    except BackupError as error:
        raise click.ClickException(f"no backup was made: {error}") from error
    data = msgspec.to_builtins(made)
    show(data, as_json=as_json, text=fields(data | {"removed": ", ".join(made.removed)}))
    if not made.keys:
        click.echo(
            "The private keys are not in it (backup.keys): keep <state>/keys somewhere safe too.", err=True
        )


@backup.command("list")
@config_option
@json_option
def list_(config_path: Path | None, as_json: bool) -> None:
    """List the backups in backup.folder, newest first, and the failure of the last attempt if it failed."""
    config = configured(config_path)
    try:
        found = list_backup_files(backup_folder(config.state_dir, config.backup))
    except BackupError as error:
        raise click.ClickException(str(error)) from error
    data = msgspec.to_builtins(found)
    show(data, as_json=as_json, text=columns(data, ("at", "label", "encrypted", "bytes", "file")))
    status = read_backup_status(config.state_dir)
    if status.is_failing and status.failed is not None:
        click.echo(f"The last attempt failed, at {status.failed.at}: {status.failed.why}", err=True)


@backup.command()
@archive_argument
@identity_option
@key_option
@json_option
def verify(file: Path, identity: BinaryIO | None, key_file: BinaryIO | None, as_json: bool) -> None:
    """Verify all of a backup; it is unpacked beside FILE for the time. Needs no instance."""
    trusted = _trusted(key_file)
    place = file.absolute().parent
    if not os.access(place, os.W_OK):
        place = Path(tempfile.gettempdir())
    os.umask(0o077)
    try:
        with scratch_folder(place) as scratch:
            signed = unpack_and_verify(file, scratch, _identities(identity), trusted)
        encrypted = is_encrypted(file)
    except BackupError as error:
        raise click.ClickException(f"{file}: {error}") from error
    except OSError as error:
        raise click.ClickException(f"{error.filename or file}: {error.strerror}") from error
    manifest = signed.manifest
    newest = manifest.contents.publication
    data = {
        "file": str(file),
        "bytes": file.stat().st_size,
        "at": manifest.at,
        "label": manifest.label,
        "encrypted": encrypted,
        "keys": manifest.has_keys,
        "release": manifest.release,
        "issuer": manifest.iss,
        "signedBy": signed.kid,
        "trusted": bool(trusted),
        "serial": newest.serial if newest else None,
        "etag": newest.etag if newest else None,
        "auditEntries": manifest.contents.audit.entries,
        "auditHead": manifest.contents.audit.head,
    }
    show(data, as_json=as_json, text=fields(data))


@backup.command()
@archive_argument
@identity_option
@key_option
@click.option("--replace", is_flag=True, help="Restore although another instance is in the state folder.")
@config_option
@json_option
def restore(
    file: Path,
    identity: BinaryIO | None,
    key_file: BinaryIO | None,
    replace: bool,
    config_path: Path | None,
    as_json: bool,
) -> None:
    """Restore the instance of a backup into the state folder; the server must be stopped.

    What the folder had is moved aside as a whole, into the folder that is printed.
    """
    config = configured(config_path)
    prepare(config.state_dir)
    terms = RestoreOptions(_identities(identity), _trusted(key_file), replace)
    try:
        restored = restore_backup(file, config.state_dir, terms, operator_name(), datetime.now(UTC))
    except BackupError as error:
        raise click.ClickException(f"{file} is not restored: {error}") from error
    data = msgspec.to_builtins(restored)
    names = tuple(name for name in data if name != "warnings")
    show(data, as_json=as_json, text=fields(data, names))
    for warning in restored.warnings:
        click.echo(f"Note: {warning}", err=True)


@backup.command()
@click.option(
    "--output", type=click.Path(dir_okay=False, path_type=Path), help="Write this file, with mode 0600."
)
@json_option
def keygen(output: Path | None, as_json: bool) -> None:
    """Make an age identity for encrypted backups: keep it off the server.

    Its public key goes into backup.recipients.
    """
    refuse_existing(output, overwrite=False)
    identity = new_identity()
    recipient = str(identity.to_public())
    text = f"# created: {to_text(datetime.now(UTC))}\n# public key: {recipient}\n{identity}\n"
    if output is None:
        show({"recipient": recipient, "identity": str(identity)}, as_json=as_json, text=text.rstrip())
        return
    with whole_file(output) as file:
        file.write(text.encode("ascii"))
    data = {"recipient": recipient, "file": str(output)}
    show(data, as_json=as_json, text=fields(data))


def prepare(state_dir: Path) -> None:
    """Prepare the state folder; raise its error as that of a command."""
    try:
        prepare_state_dir(state_dir)
    except ConfigError as error:
        raise click.ClickException(str(error)) from error


def _identities(file: BinaryIO | None) -> list[Identity]:
    try:
        return read_identities(file.read(_MAX_KEY_FILE_BYTES).decode("ascii", "replace")) if file else []
    except BackupError as error:
        raise click.ClickException(str(error)) from error


def _trusted(file: BinaryIO | None) -> tuple[Ed25519PublicKey, ...]:
    try:
        return read_keys(file.read(_MAX_KEY_FILE_BYTES)) if file else ()
    except StatementError as error:
        raise click.ClickException(f"--key: {error}") from error

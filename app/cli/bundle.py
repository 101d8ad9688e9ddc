"""`threatcloud bundle`: export, import, verify."""

import base64
import hashlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import click
import msgspec

from app.bundles.files import check_bundle
from app.bundles.format import MAX_BYTES, BundleError, peek_manifest
from app.bundles.receipts import read_receipt
from app.cli.instance import Instance, request, with_instance
from app.cli.options import api_command, json_option
from app.cli.output import fields, show
from app.cli.progress import progress_bar
from app.cli.whole_file import refuse_existing, whole_file

_CHUNK = 256 * 1024
_MAX_RECEIPT_BYTES = 1 << 20

existing_file = click.Path(exists=True, dir_okay=False, path_type=Path)
new_file = click.Path(dir_okay=False, path_type=Path)
overwrite_option = click.option("--overwrite", is_flag=True, help="Replace a file that exists.")


@click.group()
def bundle() -> None:
    """Carry rules to instances without a network, as signed files."""


@bundle.command("export")
@click.option("--since", type=click.IntRange(1), help="Export only what changed after this publication.")
@click.option("--output", "-o", type=new_file, required=True, help="Write this file, such as rules.tcbundle.")
@overwrite_option
@api_command
def export_(
    since: int | None, output: Path, overwrite: bool, config_path: Path | None, as_json: bool
) -> None:
    """Export what is served now into one signed file."""
    refuse_existing(output, overwrite=overwrite)
    whole = hashlib.sha256()

    async def act(instance: Instance) -> str:
        with (
            whole_file(output) as file,
            progress_bar("exporting", None, quiet=as_json, in_bytes=True) as bar,
        ):

            def sink(piece: bytes, size: int) -> None:
                bar.resize(size)
                whole.update(piece)
                file.write(piece)
                bar.advance(len(piece))

            path = "/api/admin/bundles/export"
            headers = await instance.download(path, sink, **({"since": since} if since else {}))
            promised = f"sha-256=:{base64.b64encode(whole.digest()).decode('ascii')}:"
            if headers.get("repr-digest") != promised:
                raise click.ClickException("the bundle did not arrive as it was sent")
        return whole.hexdigest()

    digest = with_instance(config_path, act)
    data = {"file": str(output), "bytes": output.stat().st_size, "digest": digest, **_said(output)}
    show(data, as_json=as_json, text=fields(data))


@bundle.command("import")
@click.argument("file", type=existing_file)
@click.option("--upstream", help="Import into this upstream of kind bundle (default: the only one).")
@click.option(
    "--force", is_flag=True, help="Import it although it is older or does not continue what was imported."
)
@click.option("--reason", help="Say why; it goes to the audit log. --force needs one.")
@click.option(
    "--receipt", "receipt_file", type=new_file, help="Write the receipt to this file (default: print it)."
)
@overwrite_option
@api_command
def import_(
    file: Path,
    upstream: str | None,
    force: bool,
    reason: str | None,
    receipt_file: Path | None,
    overwrite: bool,
    config_path: Path | None,
    as_json: bool,
) -> None:
    """Import a bundle, publish what it changed, and print a signed receipt for the exporter."""
    if force and not reason:
        raise click.UsageError("--force needs --reason")
    refuse_existing(receipt_file, overwrite=overwrite)
    size = file.stat().st_size
    if size > MAX_BYTES:
        raise click.ClickException(f"{file} is larger than {MAX_BYTES} bytes, so no bundle")
    asked = {"upstream": upstream, "reason": reason, "force": "true" if force else None}
    data = request(
        config_path,
        "POST",
        "/api/admin/bundles/import",
        params={name: value for name, value in asked.items() if value},
        content=_pieces(file, size, quiet=as_json),
        headers={"Content-Type": "application/octet-stream", "Content-Length": str(size)},
    )
    if receipt_file is not None:
        with whole_file(receipt_file) as kept:
            kept.write(f"{data['receipt']}\n".encode("ascii"))
    show(data, as_json=as_json, text=_summary(data, receipt_file))


@bundle.command()
@click.argument("file", type=existing_file)
@click.option(
    "--key",
    "key_file",
    type=existing_file,
    required=True,
    help="Trust this PEM file of the signing instance: its /.well-known/manifest-key.pem.",
)
@click.option("--receipt", is_flag=True, help="Check a receipt, not a bundle.")
@json_option
def verify(file: Path, key_file: Path, receipt: bool, as_json: bool) -> None:
    """Verify a bundle or a receipt and say what it is; needs no instance. Exit code 1 when it is not good."""
    try:
        data = _receipt(file, key_file) if receipt else _bundle(file, key_file)
    except BundleError as error:
        raise click.ClickException(f"{file}: {error}") from error
    except OSError as error:
        raise click.ClickException(f"{error.filename} cannot be read: {error.strerror}") from error
    shown = _flat(data)
    show(data, as_json=as_json, text=fields(shown))


def _bundle(file: Path, key_file: Path) -> dict[str, Any]:
    facts, manifest = check_bundle(str(file), key_file.read_bytes())
    described: dict[str, Any] = msgspec.to_builtins(facts)
    return described | {
        "publishedAt": manifest.published_at,
        "rules": len(manifest.rules),
        "texts": len(manifest.texts),
        "publications": len(manifest.chain),
    }


def _receipt(file: Path, key_file: Path) -> dict[str, Any]:
    if file.stat().st_size > _MAX_RECEIPT_BYTES:
        raise BundleError("too-large", "It is too large to be a receipt.")
    described: dict[str, Any] = msgspec.to_builtins(read_receipt(file.read_bytes(), key_file.read_bytes()))
    return described


def _flat(data: dict[str, Any]) -> dict[str, Any]:
    """Return the same with `outer.inner` as names."""
    flat: dict[str, Any] = {}
    for name, value in data.items():
        flat |= {f"{name}.{n}": v for n, v in value.items()} if isinstance(value, dict) else {name: value}
    return flat


def _said(path: Path) -> dict[str, Any]:
    """Return what a bundle that has just come from the instance says of itself; it is not checked here."""
    with path.open("rb") as file:
        claims = peek_manifest(iter(lambda: file.read(_CHUNK), b""))
    return {
        "serial": claims["serial"],
        "since": claims["since"],
        "rules": len(claims["rules"]),
        "texts": len(claims["texts"]),
    }


def _summary(data: dict[str, Any], receipt_file: Path | None) -> str:
    taken, result = data["bundle"], data["result"]
    lines = [
        f"publication {taken['serial']} of {taken['iss']} into {data['upstream']}: {result['outcome']}",
        *(f"{name}: {result[name]}" for name in ("added", "changed", "withdrawn", "held", "setAside")),
    ]
    if result["held"]:
        lines.append(f"see `threatcloud upstream list-pending {data['upstream']}`")
    lines.append(f"receipt: {receipt_file or data['receipt']}")
    return "\n".join(lines)


async def _pieces(path: Path, size: int, *, quiet: bool) -> AsyncIterator[bytes]:
    with (
        path.open("rb") as file,
        progress_bar("importing", size, quiet=quiet, in_bytes=True) as bar,
    ):
        while piece := file.read(_CHUNK):
            yield piece
            bar.advance(len(piece))

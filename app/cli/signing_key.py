"""`threatcloud signing-key`: list, rotate, retire."""

from pathlib import Path

import click

from app.cli.instance import request
from app.cli.options import api_command
from app.cli.output import columns, show

ROOT = "/api/admin/signing-keys"


@click.group("signing-key")
def signing_key() -> None:
    """Rotate the keys that sign access tokens, rules and manifests."""


@signing_key.command("list")
@api_command
def list_(config_path: Path | None, as_json: bool) -> None:
    """List the keys that sign, and those that are still accepted."""
    keys = request(config_path, "GET", ROOT)
    show(keys, as_json=as_json, text=columns(keys, list(keys[0]) if keys else []))


@signing_key.command()
@click.argument("use", type=click.Choice(["access", "rule", "manifest"]))
@api_command
def rotate(use: str, config_path: Path | None, as_json: bool) -> None:
    """Sign with a new key from now on; the old one stays accepted until it is retired.

    A stock Guard knows exactly one rule key: give every host the new one before you rotate that.
    """
    data = request(config_path, "POST", f"{ROOT}/{use}/rotate")
    show(data, as_json=as_json, text=f"{use}: signs with {data['kid']} from now on")


@signing_key.command()
@click.argument("kid")
@api_command
def retire(kid: str, config_path: Path | None, as_json: bool) -> None:
    """Delete an old key, so that nothing it signed is accepted any more."""
    data = request(config_path, "DELETE", f"{ROOT}/{kid}")
    show(data, as_json=as_json, text=f"retired {kid}")

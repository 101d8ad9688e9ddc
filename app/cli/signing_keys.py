"""`threatcloud signing-key`: list, rotate, retire."""

from pathlib import Path
from typing import Any

import click

from app.cli.instance import Instance, with_instance
from app.cli.options import api_command
from app.cli.output import show, table


@click.group("signing-key")
def signing_key() -> None:
    """Keys that sign access tokens, rules and manifests."""


@signing_key.command("list")
@api_command
def list_(config_path: Path | None, as_json: bool) -> None:
    """List the keys that sign, and those that are still accepted."""

    async def act(instance: Instance) -> dict[str, Any]:
        return await instance.call("GET", "/api/admin/signing-keys")

    keys = with_instance(config_path, act)["data"]
    columns = list(keys[0]) if keys else []
    show(keys, as_json=as_json, text=table([[item[name] for name in columns] for item in keys], columns))


@signing_key.command()
@click.argument("use", type=click.Choice(["access", "rule", "manifest"]))
@api_command
def rotate(use: str, config_path: Path | None, as_json: bool) -> None:
    """Sign with a new key from now on; the old one stays accepted until it is retired.

    A stock Guard knows exactly one rule key: give every host the new one before you rotate that.
    """

    async def act(instance: Instance) -> dict[str, Any]:
        return await instance.call("POST", f"/api/admin/signing-keys/{use}/rotate")

    data = with_instance(config_path, act)["data"]
    show(data, as_json=as_json, text=f"{use}: signs with {data['kid']} from now on")


@signing_key.command()
@click.argument("kid")
@api_command
def retire(kid: str, config_path: Path | None, as_json: bool) -> None:
    """Accept nothing that this old key signed any more, and delete it."""

    async def act(instance: Instance) -> dict[str, Any]:
        return await instance.call("DELETE", f"/api/admin/signing-keys/{kid}")

    data = with_instance(config_path, act)["data"]
    show(data, as_json=as_json, text=f"retired {kid}")

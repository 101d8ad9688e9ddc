"""`threatcloud serve`."""

from pathlib import Path

import click

from app.cli.options import InvalidConfig, config_option, read_config
from app.config import ConfigError
from app.signing.keys import SigningKeyError
from app.storage import AlreadyRunning, StorageError
from app.web import server


@click.command()
@config_option
def serve(config_path: Path | None) -> None:
    """Run the server until it is stopped.

    SIGTERM stops it after the running requests; SIGHUP reads the configuration again.
    """
    try:
        config = read_config(config_path)
        click.echo(f"Threat Cloud listens on http://{config.server.host}:{config.server.port}", err=True)
        click.echo(f"Admin key: {config.state_dir / 'admin.key'} (made on first start)", err=True)
        server.serve(lambda: read_config(config_path))
    except ConfigError as error:
        raise InvalidConfig(error.errors) from error
    except AlreadyRunning as error:
        raise click.ClickException(f"{error}; stop that first, or set another server.state_dir") from error
    except (StorageError, SigningKeyError) as error:
        raise click.ClickException(str(error)) from error

"""The configuration: one TOML file, each value overridable by `THREATCLOUD_<SECTION>_<NAME>`.

A section is a `msgspec.Struct` that lives with the capability it configures. Everything is checked at start,
and every mistake is reported at once, one clear line each.
"""

import difflib
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, get_args, get_type_hints

import msgspec

from app.access.policy import AccessPolicy, LimitPolicy
from app.backup.policy import BackupPolicy
from app.consensus.policy import ConsensusPolicy
from app.federation.upstream import Upstream
from app.fleet.agents import FleetPolicy
from app.intel.policy import IntelPolicy
from app.overlay.config import Overlay, as_text, contradictions
from app.privacy.policy import RetentionPolicy
from app.publication.store import PublicationPolicy

ENV_PREFIX = "THREATCLOUD_"
SHORT_NAMES = {"THREATCLOUD_STATE_DIR": "server.state_dir", "THREATCLOUD_PORT": "server.port"}
"""Overrides that `make run` and containers set; the long names win over them."""


class ServerOptions(msgspec.Struct, frozen=True, kw_only=True):
    """Where the server listens and keeps its state."""

    host: str = "127.0.0.1"
    """Address to listen on; `0.0.0.0` or `::` for all. Put TLS in front (nginx) for anything but loopback."""
    port: Annotated[int, msgspec.Meta(ge=1, le=65535)] = 8080
    """TCP port to listen on."""
    state_dir: str = "var"
    """Folder for the database, keys and the control socket; created with mode 0700. Back this up."""
    max_body_bytes: Annotated[int, msgspec.Meta(ge=65_536, le=67_108_864)] = 1_048_576
    """Largest request body taken from the network; beyond it the answer is 413."""
    body_seconds: Annotated[float, msgspec.Meta(gt=0, le=600)] = 20.0
    """Time a client has to send its body; beyond it the answer is 408."""
    graceful_seconds: Annotated[int, msgspec.Meta(ge=1, le=600)] = 30
    """Time running requests have to finish when the server stops or reloads."""


class LogOptions(msgspec.Struct, frozen=True, kw_only=True):
    """What is written to standard error, as JSON lines."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    """Least severe message to write."""
    requests: bool = True
    """Write one line per request (without query, headers or keys)."""


class Config(msgspec.Struct, frozen=True, kw_only=True):
    """The whole configuration; each attribute is a section of the file."""

    server: ServerOptions = msgspec.field(default_factory=ServerOptions)
    log: LogOptions = msgspec.field(default_factory=LogOptions)
    access: AccessPolicy = msgspec.field(default_factory=AccessPolicy)
    limits: LimitPolicy = msgspec.field(default_factory=LimitPolicy)
    consensus: ConsensusPolicy = msgspec.field(default_factory=ConsensusPolicy)
    publication: PublicationPolicy = msgspec.field(default_factory=PublicationPolicy)
    fleet: FleetPolicy = msgspec.field(default_factory=FleetPolicy)
    intel: IntelPolicy = msgspec.field(default_factory=IntelPolicy)
    retention: RetentionPolicy = msgspec.field(default_factory=RetentionPolicy)
    backup: BackupPolicy = msgspec.field(default_factory=BackupPolicy)
    upstream: tuple[Upstream, ...] = ()
    overlay: tuple[Overlay, ...] = ()

    @property
    def state_dir(self) -> Path:
        """The state folder as an absolute path."""
        return Path(self.server.state_dir).absolute()


TABLES = ("upstream", "overlay")
"""Parts of the file that are there any number of times, each written [[name]]."""

UPSTREAM_KINDS = {str(kind.__struct_config__.tag): kind for kind in get_args(Upstream)}
OVERLAY_ACTIONS = {str(kind.__struct_config__.tag): kind for kind in get_args(Overlay)}


class ConfigError(Exception):
    """The configuration cannot be used; `errors` has one sentence for each thing to mend."""

    def __init__(self, errors: list[str]) -> None:
        super().__init__("\n".join(errors))
        self.errors = errors


SECTIONS: dict[str, type[msgspec.Struct]] = {
    name: kind for name, kind in get_type_hints(Config).items() if name not in TABLES
}


def load_config(path: Path | None, environ: Mapping[str, str]) -> Config:
    """Read the file (None: defaults only), apply the environment's overrides, check everything.

    Raises `ConfigError`.
    """
    document = _read(path) if path is not None else {}
    errors: list[str] = []
    sections: dict[str, dict[str, Any]] = {name: {} for name in SECTIONS}
    for name, value in document.items():
        if name in TABLES:
            continue
        if name not in SECTIONS:
            errors.append(f"[{name}]: there is no such section{_suggest(name, [*SECTIONS, *TABLES])}")
        elif not isinstance(value, dict):
            errors.append(f"{name}: a section is needed here, written [{name}]")
        else:
            sections[name] = _section(name, value, errors)
    for name, value in _overrides(environ, errors).items():
        section, _, option = name.partition(".")
        _set(sections[section], section, option, value, strict=False, errors=errors)
    upstream = _upstreams(document.get("upstream", []), errors)
    # An option that was refused is left out above, so what its section says as a whole is still looked at.
    overlay = _overlay(document.get("overlay", []), errors)
    config = Config(upstream=upstream, overlay=overlay, **_build(sections, errors))
    errors += [f"consensus.{mistake}" for mistake in config.consensus.errors()]
    if errors:
        raise ConfigError(errors)
    return config


def _read(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ConfigError([f"{path}: there is no such file"]) from None
    except OSError as error:
        raise ConfigError([f"{path}: cannot be read: {error.strerror}"]) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError([f"{path}: not TOML: {error}"]) from error


def _section(name: str, table: dict[str, Any], errors: list[str]) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for option, value in table.items():
        _set(values, name, option, value, strict=True, errors=errors)
    return values


def _set(
    values: dict[str, Any], section: str, option: str, value: Any, *, strict: bool, errors: list[str]
) -> None:
    kinds = get_type_hints(SECTIONS[section], include_extras=True)
    if option not in kinds:
        errors.append(f"{section}.{option}: there is no such option{_suggest(option, list(kinds))}")
        return
    try:
        values[option] = msgspec.convert(value, kinds[option], strict=strict)
    except msgspec.ValidationError as error:
        errors.append(f"{section}.{option}: {_plain(error)}")


def _overrides(environ: Mapping[str, str], errors: list[str]) -> dict[str, Any]:
    """`section.option` -> value for every THREATCLOUD_ variable that names an option."""
    found: dict[str, Any] = {}
    for short, name in SHORT_NAMES.items():
        if environ.get(short):
            found[name] = environ[short]
    for variable, text in environ.items():
        if not variable.startswith(ENV_PREFIX) or variable in SHORT_NAMES:
            continue
        section, _, option = variable.removeprefix(ENV_PREFIX).lower().partition("_")
        if section not in SECTIONS:
            # Other variables of this prefix are none of ours, but a slip of the pen must not pass unseen.
            if near := difflib.get_close_matches(section, SECTIONS, 1):
                errors.append(f"{variable}: there is no section [{section}]; did you mean {near[0]}?")
            continue
        kinds = get_type_hints(SECTIONS[section])
        kind = kinds.get(option)
        if kind is None:
            errors.append(f"{variable}: [{section}] has no option {option!r}{_suggest(option, [*kinds])}")
        elif kind == tuple[str, ...]:
            found[f"{section}.{option}"] = [item.strip() for item in text.split(",") if item.strip()]
        else:
            found[f"{section}.{option}"] = text
    return found


def _upstreams(tables: Any, errors: list[str]) -> tuple[Upstream, ...]:
    found: list[Upstream] = _tables("upstream", tables, UPSTREAM_KINDS, "kind", errors)
    names = [upstream.name for upstream in found]
    errors += [f"upstream {name!r}: the name is used twice" for name in {*names} if names.count(name) > 1]
    return tuple(found)


def _overlay(tables: Any, errors: list[str]) -> tuple[Overlay, ...]:
    found: list[Overlay] = _tables("overlay", tables, OVERLAY_ACTIONS, "action", errors)
    errors += contradictions(found)
    return tuple(found)


def _tables(
    name: str, tables: Any, kinds: Mapping[str, type[msgspec.Struct]], tag: str, errors: list[str]
) -> list[Any]:
    """Every table of this name as the type that its `tag` names; what is wrong with one leaves that one out."""
    if not isinstance(tables, list):
        errors.append(f"{name}: write each one as [[{name}]], with two brackets")
        return []
    found: list[Any] = []
    for number, table in enumerate(tables, 1):
        chosen = table.get(tag) if isinstance(table, dict) else None
        if not isinstance(chosen, str) or chosen not in kinds:
            said = f"{chosen!r} is no {tag}" if chosen is not None else "it is missing"
            errors.append(f"{name} number {number}: {tag}: {said} (known: {', '.join(kinds)})")
            continue
        options = {option: as_text(value) for option, value in table.items() if option != tag}
        made = _table(kinds[chosen], options, f"{name} number {number}", errors)
        if made is not None:
            found.append(made)
    return found


def _table(
    kind: type[msgspec.Struct], options: Mapping[str, Any], where: str, errors: list[str]
) -> msgspec.Struct | None:
    """One table, option by option, so that every mistake in it is told."""
    fields = {field.name: field for field in msgspec.structs.fields(kind)}
    values: dict[str, Any] = {}
    wrong = [
        f"{where}: {name}: it is missing"
        for name, field in fields.items()
        if field.required and name not in options
    ]
    for option, value in options.items():
        if option not in fields:
            wrong.append(f"{where}: {option}: there is no such option{_suggest(option, list(fields))}")
            continue
        try:
            values[option] = msgspec.convert(value, fields[option].type)
        except msgspec.ValidationError as error:
            wrong.append(f"{where}: {option}: {_plain(error)}")
    try:
        return kind(**values) if not wrong else None
    except ValueError as error:
        wrong.append(f"{where}: {error}")
        return None
    finally:
        errors += wrong


def _build(sections: dict[str, dict[str, Any]], errors: list[str]) -> dict[str, Any]:
    """Each section as its type; what only the whole section shows (a network that is none) is a mistake."""
    built: dict[str, Any] = {}
    for name, kind in SECTIONS.items():
        try:
            built[name] = kind(**sections[name])
        except ValueError as error:
            errors.append(f"{name}: {error}")
    return built


def _plain(error: msgspec.ValidationError) -> str:
    what, _, where = str(error).partition(" - at `$")
    where = where.rstrip("`").lstrip(".")
    return f"{where}: {what}" if where else what


def _suggest(name: str, known: list[str]) -> str:
    near = difflib.get_close_matches(name, known, 1)
    return f"; did you mean {near[0]}?" if near else f" (known: {', '.join(known)})"

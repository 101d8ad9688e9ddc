"""Digests of every file, and the release key's signature over them, by OpenSSH's own file signatures."""

import os
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

from deploy.offline.errors import BuildError
from deploy.offline.packing import files_in
from deploy.offline.wheels import digest

NAMESPACE = "threatcloud-release"
VARIABLE = "THREATCLOUD_RELEASE_KEY"
THROW_AWAY = "throw-away key, not a release"
"""The comment of a key that nobody vouches for; `verify` prints it."""


def release_key(output: Path, environment: Mapping[str, str]) -> Path:
    """Return the private key to sign with: the one in the environment, else one made for `output`, once."""
    if shutil.which("ssh-keygen") is None:
        raise BuildError("ssh-keygen is missing; on Debian: apt-get install openssh-client")
    if named := environment.get(VARIABLE):
        key = Path(named).expanduser()
        if not key.is_file():
            raise BuildError(f"{VARIABLE} names {key}, and there is no such file")
        return key
    key = output / "throw-away-key"
    if not key.exists():
        output.mkdir(parents=True, exist_ok=True)
        _run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", THROW_AWAY, "-f", str(key)])
    return key


def public_key(key: Path) -> str:
    """Return the public half as OpenSSH writes it, in one line; `key` may be that file, for a key in an agent."""
    beside = key if key.suffix == ".pub" else key.with_name(key.name + ".pub")
    return beside.read_text() if beside.is_file() else _run(["ssh-keygen", "-y", "-f", str(key)])


def fingerprint(key: Path) -> str:
    """`SHA256:...` of a key file."""
    return _run(["ssh-keygen", "-l", "-f", str(key)]).split()[1]


def sums(folder: Path) -> str:
    """Return a line as sha256sum writes it for each file below the folder, in order of their names."""
    names = sorted(str(path.relative_to(folder)) for path in files_in(folder))
    for name in names:
        if len(name.split()) != 1 or "\\" in name:
            raise BuildError(f"a name in the archive must not have spaces: {name!r}")
    return "".join(f"{digest(folder / name)}  {name}\n" for name in names)


def sign(path: Path, key: Path) -> None:
    """Write `<path>.sig`. A passphrase is asked for on the terminal; a key in the ssh agent needs none."""
    signature = path.with_name(path.name + ".sig")
    signature.unlink(missing_ok=True)
    _run(["ssh-keygen", "-q", "-Y", "sign", "-f", str(key), "-n", NAMESPACE, str(path)])


def _run(command: list[str]) -> str:
    done = subprocess.run(
        command, stdout=subprocess.PIPE, text=True, check=False, env={**os.environ, "LC_ALL": "C"}
    )
    if done.returncode:
        raise BuildError(f"{' '.join(command[:4])} failed")
    return done.stdout

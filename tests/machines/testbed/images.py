"""Debian images for the machines, created once by debootstrap from the package sources of this machine."""

import fcntl
import hashlib
import os
import shutil
import subprocess
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.machines.testbed.commands import run
from tests.needs import need_program, need_root

SUITES = ("bookworm", "trixie")
"""Debian 12 and Debian 13."""

PACKAGES = (
    *("systemd", "systemd-sysv", "dbus", "python3", "python3-apt", "openssh-server", "sudo", "iproute2"),
    *("procps", "openssl", "nginx", "libnginx-mod-stream", "nftables", "curl", "ca-certificates"),
)
"""The packages of a plain Debian server and those that the playbooks need, since machines have no network."""

_RECIPE = Path(__file__).with_name("image.sh")


def cache_folder() -> Path:
    """Return the folder that keeps images from one run to the next."""
    named = os.environ.get("THREATCLOUD_MACHINES_CACHE")
    return Path(named) if named else Path.home() / ".cache" / "threatcloud-machines"


def images(suites: Sequence[str] = SUITES) -> dict[str, Path]:
    """Return the root folder of each suite's image, and create missing ones in parallel (50 s each)."""
    need_root()
    for program in ("debootstrap", "apt-get", "unshare", "chroot"):
        need_program(program)
    with ThreadPoolExecutor() as pool:
        return dict(zip(suites, pool.map(_image, suites), strict=True))


def _image(suite: str) -> Path:
    recipe = hashlib.sha256(_RECIPE.read_bytes() + repr(PACKAGES).encode()).hexdigest()[:12]
    folder = cache_folder()
    folder.mkdir(parents=True, exist_ok=True)
    image = folder / f"{suite}-{recipe}"
    with (folder / f"{suite}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # another run may be making the same image
        if not image.exists():
            for old in folder.glob(f"{suite}-*"):
                shutil.rmtree(old)
            new = folder / f"{suite}-new"
            # In namespaces of its own nothing that debootstrap mounts or starts can stay behind.
            alone = ["unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"]
            command = [*alone, "sh", str(_RECIPE), suite, str(new), str(folder / "packages"), *_sources()]
            run([*command, ",".join(PACKAGES)], timeout=900)
            new.rename(image)
    return image


def _sources() -> tuple[str, str]:
    """Return the addresses of Debian's archive and security archive from apt; raise LookupError if it has none."""
    command = ["apt-get", "indextargets", "--format", "$(RELEASE) $(REPO_URI)", "Created-By: Packages"]
    lines = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split("\n")
    found = {release: address for release, _, address in (line.partition(" ") for line in lines) if address}
    security = {release: address for release, address in found.items() if release.endswith("-security")}
    main = [address for release, address in found.items() if f"{release}-security" in security]
    if not main:
        raise LookupError("apt on this machine has no sources of a Debian release with its security updates")
    return main[0], next(iter(security.values()))

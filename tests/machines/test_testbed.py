"""The testbed itself: its machines are isolated, and nothing is left behind."""

import signal
import subprocess
import sys
from pathlib import Path

from tests.machines.testbed import Testbed
from tests.machines.testbed.namespaces import PREFIX, sweep
from tests.machines.testbed.playbook import read_recap
from tests.machines.testbed.testbed import REPOSITORY

LEAVE = """
import signal, time
signal.signal(signal.SIGINT, signal.default_int_handler)
from tests.machines.testbed import Testbed
with Testbed() as testbed:
    machine = testbed.machine("leaver", "bookworm")
    testbed.start(["sleep", "600"])
    print(testbed.folder, flush=True)
    time.sleep(600)
"""


def test_a_machine_keeps_its_disk_and_cannot_get_out(testbed: Testbed) -> None:
    machine = testbed.machine("probe", "trixie")
    machine.put(b"kept\n", "/var/lib/kept")
    machine.reboot()
    assert machine.get("/var/lib/kept") == "kept\n"
    [route] = machine.run("ip route").text.splitlines()
    assert route.startswith("198.51.100.0/24 dev eth0 ")
    out = machine.run("curl --silent --max-time 2 http://192.0.2.1/", check=False)
    assert out.code == 7, "there is a way out"
    frozen = machine.freeze()
    twin = testbed.machine("twin", frozen)
    assert twin.get("/var/lib/kept") == "kept\n"
    twin.destroy()


def test_nothing_outlasts_an_interrupted_or_killed_run(testbed: Testbed) -> None:
    for number, ends_alone in ((signal.SIGINT, True), (signal.SIGKILL, False)):
        run = subprocess.Popen(
            [sys.executable, "-c", LEAVE],
            cwd=REPOSITORY,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        assert run.stdout is not None
        folder = Path(run.stdout.readline().strip())
        assert folder.name.startswith(PREFIX)
        assert processes_of(folder)
        run.send_signal(number)
        run.wait(30)
        run.stdout.close()
        if not ends_alone:
            sweep()
        assert not folder.exists()
        assert not processes_of(folder)
    assert testbed.folder.exists(), "a run that is alive was swept away"


def processes_of(folder: Path) -> list[str]:
    """Return the living processes in a testbed's control group; dead ones have no command line."""
    found = []
    for entry in Path("/proc").glob("[0-9]*/cgroup"):
        try:
            if f"/{folder.name}" in entry.read_text() and entry.with_name("cmdline").read_bytes():
                found.append(entry.parent.name)
        except OSError:  # it has ended
            continue
    return found


def test_a_recap_counts_every_host() -> None:
    output = (
        "PLAY RECAP *********************\n"
        "one   : ok=3    changed=2    unreachable=0    failed=0    skipped=1    rescued=0    ignored=0   \n"
        "two   : ok=1    changed=1    unreachable=1    failed=1    skipped=0    rescued=0    ignored=0   \n"
    )
    recap = read_recap(2, output)
    assert (recap.changed, recap.failed, recap.clean) == (3, 2, False)

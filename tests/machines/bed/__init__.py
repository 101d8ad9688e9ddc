"""A test bed of whole Debian machines: booted with systemd in namespaces, on a network of their own with no way out.

    with Bed() as bed:
        server = bed.machine("server", "bookworm")
        server.run("systemctl is-system-running")
        recap = bed.playbook("install", {"threatcloud": [server]}, threatcloud_hostname="tc.example")
        bed.run(["curl", "--silent", f"http://{server.address}/"])  # as a stranger on the same network

Everything lives in the namespaces of one process that ends when its standard input does, so no machine outlasts the
tests, however they end. Machines are at 198.51.100.11, .12 and so on, this end is at 198.51.100.1 (RFC 5737).
"""

from tests.machines.bed.bed import Bed
from tests.machines.bed.commands import Done, Failed
from tests.machines.bed.machine import Disk, Machine
from tests.machines.bed.playbook import Recap

__all__ = ["Bed", "Disk", "Done", "Failed", "Machine", "Recap"]

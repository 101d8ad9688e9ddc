"""A testbed of whole Debian machines: booted with systemd in namespaces, on a network of their own with no way out.

    with Testbed() as testbed:
        server = testbed.machine("server", "bookworm")
        server.run("systemctl is-system-running")
        recap = testbed.playbook("install", {"threatcloud": [server]}, threatcloud_hostname="tc.example")
        testbed.run(["curl", "--silent", f"http://{server.address}/"])  # from another host of the network

Everything lives in the namespaces of one process that ends when its standard input does, so no machine outlasts the
tests, however they end. Machines are at 198.51.100.11, .12 and so on, this end is at 198.51.100.1 (RFC 5737).
"""

from tests.machines.testbed.commands import Done, Failed
from tests.machines.testbed.machine import Disk, Machine
from tests.machines.testbed.playbook import Recap
from tests.machines.testbed.testbed import Testbed

__all__ = ["Disk", "Done", "Failed", "Machine", "Recap", "Testbed"]

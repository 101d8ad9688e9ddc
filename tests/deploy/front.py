"""The shipped nginx configuration in front of a test's server, in a folder of its own, on loopback."""

import re
import ssl
import subprocess
from pathlib import Path

import httpx

from tests.clients.certificates import Authority
from tests.clients.nginx import Nginx
from tests.needs import need_program
from tests.server import REPOSITORY, Server, free_port

SHIPPED = REPOSITORY / "deploy" / "nginx"
NAME = "threatcloud.corp.example"
MAIN = """\
daemon off;
pid {folder}/nginx.pid;
error_log stderr warn;
worker_processes 1;
{user}
events {{ worker_connections 512; }}
http {{
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    gzip on;
    gzip_types *;
    gzip_proxied any;
    ssl_protocols TLSv1 TLSv1.1 TLSv1.2 TLSv1.3;
    include {folder}/threatcloud.conf;
}}
"""
"""As much of Debian's nginx.conf as matters: its `gzip on`, sharpened as some do, and its old protocols."""


class Front(Nginx):
    """nginx on https://127.0.0.1:`port` for one server; `changes` are applied to the example of each file."""

    def __init__(
        self, folder: Path, server: Server, changes: dict[str, dict[str, str]] | None = None
    ) -> None:
        folder.mkdir(parents=True)
        authority = Authority(folder / "tls")
        authority.sign("server", NAME)
        self.ca = folder / "tls" / "ca.pem"
        port = free_port()
        places = {
            "/etc/threatcloud/nginx/": f"{folder}/",
            "/etc/threatcloud/tls/": f"{folder}/tls/",
            "/var/log/nginx/": f"{folder}/",
            "listen 443 ssl": f"listen 127.0.0.1:{port} ssl",
            "127.0.0.1:8080": f"127.0.0.1:{server.port}",
        }
        for path in (SHIPPED / "threatcloud.conf", *sorted((SHIPPED / "examples").iterdir())):
            text = path.read_text() if path.name != "site.conf" else for_this_nginx(path.read_text())
            for old, new in (changes or {}).get(path.name, {}).items():
                assert old in text, f"{path.name} has no {old!r}"
                text = text.replace(old, new)
            for old, new in places.items():
                text = text.replace(old, new)
            (folder / path.name).write_text(text)
        user = "user root;" if folder.owner() == "root" else ""
        super().__init__(folder, MAIN.format(folder=folder, user=user), port)
        self.url = f"https://127.0.0.1:{port}"
        self.access_log = folder / "threatcloud.log"

    def client(self, token: str | None = None, source: str = "127.0.0.1", **headers: str) -> httpx.Client:
        """A client on this loopback address, which trusts the CA and asks for the name."""
        context = ssl.create_default_context(cafile=str(self.ca))
        context.check_hostname = False
        if token is not None:
            headers["Authorization"] = f"Bearer {token}"
        transport = httpx.HTTPTransport(verify=context, local_address=source)
        return httpx.Client(
            base_url=self.url, transport=transport, headers={"Host": NAME, **headers}, timeout=60
        )


def version() -> tuple[int, ...]:
    """The version of this machine's nginx."""
    done = subprocess.run([need_program("nginx"), "-v"], capture_output=True, text=True, check=True)
    found = re.search(r"nginx/([0-9.]+)", done.stderr)
    assert found is not None, done.stderr
    return tuple(map(int, found[1].split(".")))


def for_this_nginx(site: str) -> str:
    """The example of site.conf, changed as its comments say for newer ones, and without IPv6."""
    lines = [line for line in site.splitlines(keepends=True) if "listen [::]" not in line]
    if version() >= (1, 25, 1):
        lines = [line for line in lines if not line.startswith("listen 443 ssl http2")]
        lines = [
            line.removeprefix("# ") if line.startswith(("# listen", "# http2")) else line for line in lines
        ]
    return "".join(lines)

"""Run a few lines of JavaScript in Node, JSON in and JSON out."""

import json
import subprocess
from typing import Any

from tests.needs import need_program


def in_node(body: str, given: object) -> Any:
    """Return what `(given) => { body }` returns in Node."""
    script = (
        f"const f = (given) => {{ {body} }};"
        "process.stdout.write(JSON.stringify(f(JSON.parse(require('fs').readFileSync(0, 'utf8')))));"
    )
    command = [need_program("node"), "-e", script]
    done = subprocess.run(
        command, input=json.dumps(given), capture_output=True, text=True, timeout=120, check=True
    )
    return json.loads(done.stdout)

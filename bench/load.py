"""wrk, the load generator: one thread, a Lua script, figures as JSON."""

import json
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Any

DONE = """
function done(summary, latency, requests)
  local e = summary.errors
  io.write(string.format(
    '\\nFIGURES {"requests":%d,"microseconds":%d,"bytes":%d,"p50":%d,"p99":%d,"max":%d,"failed":%d,"status":%d}\\n',
    summary.requests, summary.duration, summary.bytes, latency:percentile(50), latency:percentile(99),
    latency.max, e.connect + e.read + e.write + e.timeout, e.status))
end
"""


class Figures:
    """What one run measured."""

    def __init__(self, raw: dict[str, Any]) -> None:
        self.rate = raw["requests"] / (raw["microseconds"] / 1e6)
        self.p50_ms = raw["p50"] / 1000
        self.p99_ms = raw["p99"] / 1000
        self.max_ms = raw["max"] / 1000
        self.megabytes_per_second = raw["bytes"] / raw["microseconds"]
        self.failed = raw["failed"]
        self.refused = raw["status"]


def require_wrk() -> None:
    """Stop with a sentence when wrk is missing."""
    if shutil.which("wrk") is None:
        raise SystemExit("bench: wrk is needed (Debian: apt-get install wrk)")


def run_wrk(url: str, *, seconds: int, connections: int, script: str = "") -> Figures:
    """Load one URL for some seconds."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "load.lua"
        path.write_text(script + DONE)
        done = subprocess.run(
            ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "--timeout", "10s", "-s", str(path), url],
            capture_output=True,
            text=True,
            check=True,
        )
    line = next(line for line in done.stdout.splitlines() if line.startswith("FIGURES "))
    return Figures(json.loads(line.removeprefix("FIGURES ")))


def rotating_keys(tokens: list[str], headers: dict[str, str]) -> str:
    """A script that sends GETs with the keys in turn."""
    fixed = "".join(f'headers["{name}"] = {json.dumps(value)}\n' for name, value in headers.items())
    return f"""
local tokens = {{{", ".join(json.dumps("Bearer " + token) for token in tokens)}}}
local n = 0
local headers = {{}}
{fixed}
function request()
  n = n + 1
  headers["Authorization"] = tokens[n % #tokens + 1]
  return wrk.format("GET", nil, headers)
end
"""


def new_proposals(tokens: list[str], run: str, text: str) -> str:
    """A script that posts a different pattern and a different text each time."""
    return f"""
local tokens = {{{", ".join(json.dumps("Bearer " + token) for token in tokens)}}}
local n = 0
local headers = {{["Content-Type"] = "application/json"}}
local text = {json.dumps(json.dumps(text))}
function request()
  n = n + 1
  headers["Authorization"] = tokens[n % #tokens + 1]
  local mark = "{run}-" .. n
  local unique = string.gsub(text, "MARK", mark)
  local body = '{{"patternHash":"' .. mark .. '","ruleContent":' .. unique ..
    ',"llmProvider":"ollama","llmModel":"llama3.1:8b","selfReviewVerdict":"approved"}}'
  return wrk.format("POST", nil, headers, body)
end
"""

"""Check rule signatures the way stock Guards do, in Node."""

import json
import subprocess
from pathlib import Path

from tests.needs import need_program

VERIFY = """
const fs = require('fs'), crypto = require('crypto');
const [bodyFile, pemFile] = process.argv.slice(1);
let data = '';
fs.createReadStream(bodyFile, { highWaterMark: 1024 })
  .on('data', (chunk) => { data += chunk.toString(); })
  .on('end', () => {
    const key = crypto.createPublicKey(fs.readFileSync(pemFile, 'utf8'));
    const verified = {};
    for (const rule of JSON.parse(data).data) {
      const signature = Buffer.from(rule.signature, 'base64');
      verified[rule.ruleId] = crypto.verify(null, Buffer.from(rule.ruleContent, 'utf8'), key, signature);
    }
    process.stdout.write(JSON.stringify(verified));
  });
"""


def verified_in_node(body: bytes, pem: str, folder: Path) -> dict[str, bool]:
    """Rule id -> does its signature hold, as a stock Guard reads and checks it: 1 KB chunks, each decoded alone."""
    node = need_program("node")
    (folder / "body.json").write_bytes(body)
    (folder / "key.pem").write_text(pem)
    command = [node, "-e", VERIFY, str(folder / "body.json"), str(folder / "key.pem")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    result: dict[str, bool] = json.loads(done.stdout)
    return result

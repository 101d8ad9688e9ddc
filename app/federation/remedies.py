"""What an admin can do about each way in which a pull fails; the command line, doctor and the guide all say this."""

from collections.abc import Mapping

from app.federation.sources.collected import FailureCode

REMEDIES: Mapping[FailureCode, str] = {
    "key": "Check that what `key` or `key_file` names is there, readable by the server's user, and a key.",
    "unreachable": "Check `url` and `proxy`, the name server and the firewall between here and there.",
    "tls": "Check `ca_file` and `client_certificate`, the host name in `url`, and the clock of this machine.",
    "timeout": "Raise `timeout`, or look at the network: a connection that was silent for 20 seconds counts too.",
    "status": "Upstream answered with an error of its own; the next pull tries again. Check `url` if it stays.",
    "unauthorized": "Upstream refused the key: ask for a new one, or check the role that it was issued with.",
    "too-fast": "Raise `interval`; the next pull waits as long as upstream asked for.",
    "redirect": "Write the address that upstream redirects to into `url`, once you know that it is the right one.",
    "content-type": "Something else than upstream answered, a sign-in page of a proxy say: check `url` and `proxy`.",
    "too-large": "Raise `max_bytes` if upstream has really grown that large.",
    "truncated": "The answer broke off; the next pull tries again. Look at proxies in between if it stays.",
    "not-json": "Check that `url` is a Threat Cloud, and that nothing in between rewrites answers.",
    "shape": "Check that `url` and `kind` belong together: this answer is of another kind of server.",
    "mixed-up": "Parts of the answer contradict each other: look for a cache in between that mixes answers up.",
    "replayed": "The answer is older than one before: look for a cache in between, or ask upstream whether it was "
    "restored from a backup.",
    "integrity": "What came is not what upstream announced: do not use it, and tell whoever runs the registry.",
    "signature": "Not signed by a key in `key_file`: check where it comes from, or add the new key after a rotation.",
    "gap": "Import the bundles in between first, or one that was exported without `--since`.",
    "rollback": "This bundle is older than what was imported last; only `bundle import --force` takes it.",
    "not-found": "Check `path`, `package`, `version` or `url`: there is nothing there.",
    "unreadable": "Check that the server's user may read it, and that it is what `kind` says.",
    "worker": "The process that pulls died or took too long: see the log, and the memory that is free.",
}
"""One sentence or two for each code; option names are those of the upstream's `[[upstream]]` table."""

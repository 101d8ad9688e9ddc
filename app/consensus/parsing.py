"""The first look at a submitted text, in a child process: what variant it belongs to, and is it a rule?"""

import json
from collections import OrderedDict
from hashlib import sha256

import msgspec

from app.consensus.errors import UnusableText
from app.rules.compare import text_digest
from app.rules.errors import RuleTextError
from app.rules.inspect import inspect_text
from app.rules.validate import Profile
from app.sandbox import Sandbox, SandboxClosed, SandboxError, SandboxTimeout

REMEMBERED = 4096


class ParsedRule(msgspec.Struct, frozen=True):
    """What a text is.

    `variant` is the digest of its normalised detection block, so that titles, dates and comments do not split the
    scanners that found the same thing; of the text itself when it has none. `problems` keep it from being a rule,
    one sentence each. `refused` says why it is not worth keeping at all.
    """

    variant: str
    problems: tuple[str, ...] = ()
    refused: str | None = None


def parse_text(text: str) -> ParsedRule:
    """Look at a text; runs in a sandbox. Linear in the text, no regex of it is run."""
    try:
        found = inspect_text(text, profile=Profile.PUBLISHED)
    except RuleTextError as error:
        if _is_json_object(text):
            # Stock Guards send JSON draft requests that quote what they found: characters and escapes included
            # that JSON allows and the YAML subset of rules does not. They are evidence all the same.
            return ParsedRule(text_digest(text), (f"{error.field}: {error.reason}",))
        return ParsedRule("", refused=f"{error.field}: {error.reason}")
    problems = tuple(f"{problem.field}: {problem.message}" for problem in found.problems)
    return ParsedRule(found.detection_digest or found.text_digest, problems)


def _is_json_object(text: str) -> bool:
    if not text.startswith("{"):
        return False
    try:
        return isinstance(json.loads(text, object_pairs_hook=_unrepeated), dict)
    except (ValueError, RecursionError):
        return False


def _unrepeated(pairs: list[tuple[str, object]]) -> dict[str, object]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise ValueError
    return members


class RuleParser:
    """Reads texts in a sandbox and remembers the last ones: the second and third scanner's identical text is free."""

    def __init__(self, sandbox: Sandbox) -> None:
        self._sandbox = sandbox
        self._known: OrderedDict[bytes, ParsedRule] = OrderedDict()

    async def read(self, text: str) -> ParsedRule:
        """Return the text as parsed; raise `UnusableText` for what is not a YAML mapping, or cannot be read."""
        key = sha256(text.encode()).digest()
        reading = self._known.get(key)
        if reading is None:
            try:
                reading = await self._sandbox.call(parse_text, text)
            except SandboxClosed:
                raise
            except SandboxTimeout as error:
                raise UnusableText("It takes too long to read.") from error
            except SandboxError as error:
                raise UnusableText("It could not be read.") from error
            self._known[key] = reading
            if len(self._known) > REMEMBERED:
                self._known.popitem(last=False)
        if reading.refused is not None:
            raise UnusableText(reading.refused)
        return reading

"""`inspect_text` for a sandbox: a refusal comes back as a value, since an exception cannot."""

import msgspec

from app.rules.errors import RuleTextError
from app.rules.inspect import Inspection, inspect_text
from app.rules.validate import Profile


class Look(msgspec.Struct, frozen=True):
    """What a text is; when it is no rule text at all, `inspection` is None and `field` and `reason` say why."""

    inspection: Inspection | None
    field: str = ""
    reason: str = ""


def look_at(text: str) -> Look:
    """Inspect a text as a complete published rule."""
    try:
        return Look(inspect_text(text, profile=Profile.PUBLISHED))
    except RuleTextError as error:
        return Look(None, error.field, error.reason)

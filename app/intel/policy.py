"""`[intel]` of the configuration file."""

import msgspec


class IntelPolicy(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is kept of what Guards report."""

    keep_sealed: bool = False
    """Keep reports that Guards of 1.8 and newer encrypt to somebody else's key, as they came. They are accepted
    and counted in any case, and never decrypted: nobody here could."""

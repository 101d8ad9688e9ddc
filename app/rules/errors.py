"""The errors of the rules package: about texts, about patterns, and about what Guards refuse."""


class RuleTextError(ValueError):
    """A text that cannot be a rule text at all (an HTTP boundary answers 400).

    `field` names the place ("line 12", "id", "text"); `reason` is one sentence that says what to fix.
    """

    def __init__(self, field: str, reason: str) -> None:
        super().__init__(f"{field}: {reason}")
        self.field = field
        self.reason = reason

    def __reduce__(self) -> tuple[type["RuleTextError"], tuple[str, str]]:
        """Pickle by arguments, so the error survives the way back from a worker process."""
        return type(self), (self.field, self.reason)


class YamlError(RuleTextError):
    """The text is not the plain subset of YAML that every ATR reader understands the same way."""


class PatternError(ValueError):
    """A regular expression that no engine here compiles; the message is a predicate without a period."""


class GuardRefusal(ValueError):
    """The newest Guards would drop this rule, or never match with it; the message says why."""

    @property
    def reason(self) -> str:
        """One sentence: what in the rule a Guard cannot load."""
        return str(self)

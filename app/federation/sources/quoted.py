"""Words of others inside our own: few, and harmless to print or to send on."""

MOST = 60


def quoted(text: str) -> str:
    """At most 60 characters of `text`, ASCII only, in quotes: for the middle of a sentence."""
    return ascii(text if len(text) <= MOST else f"{text[:MOST]}...")


def printable(text: str) -> str:
    """`text` itself, or with escapes when something in it cannot be printed, or not be written as UTF-8."""
    return text if text.isprintable() else ascii(text)[1:-1]

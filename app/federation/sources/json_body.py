"""Reading JSON that an upstream sent into one of our types."""

from typing import TypeVar

import msgspec

from app.federation.sources.collected import SourceError

T = TypeVar("T")


def decode(body: bytes | msgspec.Raw, kind: type[T]) -> T:
    """Raises `SourceError` not-json or shape; the reasons of msgspec hold no words of the upstream."""
    try:
        return msgspec.json.decode(body, type=kind)
    except msgspec.ValidationError as error:
        raise SourceError("shape", f"The answer has another form than expected: {error}.") from None
    except msgspec.DecodeError as error:
        raise SourceError("not-json", f"The answer is not JSON: {error}.") from None
    except UnicodeDecodeError:
        raise SourceError("not-json", "The answer is not UTF-8.") from None
    except RecursionError:
        raise SourceError("not-json", "The answer is nested too deeply.") from None

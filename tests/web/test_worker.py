"""What replaces a part of gunicorn does what that part does."""

import pytest
from gunicorn.asgi.parser import PythonProtocol

from app.web.worker import QuickParser


@pytest.mark.parametrize("byte", range(256))
def test_the_parser_refuses_the_same_header_values(byte: int) -> None:
    value = bytes([65, byte, 65])
    theirs, ours = (kind()._has_invalid_header_chars(value) for kind in (PythonProtocol, QuickParser))
    assert ours is theirs

from __future__ import annotations

import msgspec
import pytest

from tenantjobs.bookmark import Bookmark
from tenantjobs.envelope import Envelope
from tenantjobs.errors import EnvelopeError


def test_a_bookmark_is_small_where_there_is_little_to_say() -> None:
    assert msgspec.json.encode(Bookmark()) == b"{}"
    assert msgspec.json.encode(Bookmark(("a",), step="b", cursor=None)) == b'{"done":["a"],"step":"b","cursor":null}'


@pytest.mark.parametrize("wrong", [b"3", b'{"done":3}', b'{"resumptions":-1}', b'{"other":1}'])
def test_an_envelope_with_something_else_in_its_place_is_none(wrong: bytes) -> None:
    start = b'{"v":1,"id":"1","name":"n","context":{},"arguments":[[],{}],"enqueued_at":"2026-01-01T00:00:00Z"'
    Envelope.decode(start + b',"bookmark":{}}')

    with pytest.raises(EnvelopeError):
        Envelope.decode(start + b',"bookmark":' + wrong + b"}")

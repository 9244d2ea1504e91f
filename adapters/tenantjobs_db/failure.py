"""What is kept of an error: enough to read it, in a form that any database takes."""

from __future__ import annotations

import traceback

import msgspec

MESSAGE_LIMIT = 10_000
TRACEBACK_LIMIT = 100_000


class Failure(msgspec.Struct, frozen=True):
    """An error as text."""

    error_class: str
    message: str
    traceback: str

    @classmethod
    def of(cls, error: BaseException) -> Failure:
        kind = type(error)
        message, formatted = storable(_message(error)), storable(_formatted(error))
        return cls(
            error_class=storable(f"{kind.__module__}.{kind.__qualname__}"),
            message=message[:MESSAGE_LIMIT],
            traceback=formatted[-TRACEBACK_LIMIT:],  # its end is what one reads first
        )


def storable(text: str) -> str:
    """``text`` without what a database refuses: NUL and lone surrogates."""
    return text.replace("\x00", "\\x00").encode("utf-8", "backslashreplace").decode()


def _message(error: BaseException) -> str:
    try:
        return str(error)
    except Exception as broken:  # a __str__ that raises must not cost the verdict
        return f"<str() of this error raised {type(broken).__name__}>"


def _formatted(error: BaseException) -> str:
    try:
        return "".join(traceback.format_exception(error))
    except Exception as broken:
        return f"<this traceback could not be formatted: {type(broken).__name__}>"

"""The seal of a carried scope: a signature by which it is good for one native message, and for no other."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from tenantjobs.errors import BadSignature
from tenantjobs.signer import Part, configured

# What of a message its seal covers, asked for only where there are keys.
Covered = Callable[[], Sequence[Part]]

_MARK = ',"sig":"'


class Own(str):
    """A header that this process wrote, and may seal. What came off a queue is a plain ``str``."""

    __slots__ = ()

    def __reduce__(self) -> tuple[type[str], tuple[str]]:
        return str, (str(self),)  # whatever carries it elsewhere


NO_SCOPE = Own('{"v":1}')


def sealed(header: str | None, covered: Covered) -> str | None:
    """The header with the seal of a message; without keys it stays as it is.

    An empty scope gets a seal as well: a message without any is not ours.
    """
    signer = configured()
    if signer is None:
        return header
    text = NO_SCOPE if not header else unsealed(header)[0]
    return f'{text[:-1]}{_MARK}{signer.sign("carriage", [*covered(), text])}"}}'


def unsealed(header: str) -> tuple[str, str | None]:
    """The header as it was before it was sealed, and its seal.

    It is the text that is cut, not an object that is written again: what was signed is what is read.
    """
    text, mark, seal = header.rpartition(_MARK)
    return (text + "}", seal[:-2]) if mark and seal.endswith('"}') else (header, None)


def opened(header: object, covered: Covered, job: str) -> tuple[object, BadSignature | None]:
    """The header without its seal, and what is wrong with that; with ``mode = "observe"`` it is only logged.

    ``job`` is what messages call it.
    """
    signer = configured()
    if signer is None or isinstance(header, Own):
        return header, None
    text, seal = unsealed(header) if isinstance(header, str) else (header, None)
    try:
        signer.verify(seal, "carriage", [*covered(), text] if isinstance(text, str) else [], job)
    except BadSignature as error:
        return text, error
    return text, None


def json_of(tree: object, dumps: Callable[..., str], loads: Callable[[str], Any]) -> str:
    """Arguments as a text that is the same before and after they have travelled, empty if they do not fit into JSON.

    Those that only pickle carries are not covered: whoever can write pickles to a queue has its workers anyway.
    """
    try:
        # What comes back is written as it will be: tuples, keys, types with hooks. YAML sorts the keys of its own.
        return dumps(loads(dumps(tree)), sort_keys=True)
    except Exception:  # of any kind, by hooks of the user
        return ""

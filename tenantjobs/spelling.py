"""Did you mean ...? For error messages."""

from __future__ import annotations

from collections.abc import Iterable


def nearest(name: str, names: Iterable[str], cutoff: float = 0.6) -> str | None:
    """The one of ``names`` that ``name`` is probably meant to be."""
    # Imported here, since only an error needs it, and every import of tenantjobs would pay for it.
    import difflib  # noqa: PLC0415

    by_folded = {known.casefold(): known for known in names}
    found = difflib.get_close_matches(name.casefold(), by_folded, n=1, cutoff=cutoff)
    return by_folded[found[0]] if found else None

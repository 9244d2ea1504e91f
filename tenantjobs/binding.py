"""How the calls of a job are bound to its parameters."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from inspect import Parameter, Signature
from typing import Any

_BY_KEYWORD = (Parameter.POSITIONAL_OR_KEYWORD, Parameter.KEYWORD_ONLY)
_BY_POSITION = (Parameter.POSITIONAL_ONLY, Parameter.POSITIONAL_OR_KEYWORD)
_COLLECTS = (Parameter.VAR_POSITIONAL, Parameter.VAR_KEYWORD)


class Binding:
    """The parameters of ``job``, which its callers pass."""

    __slots__ = ("_by_position", "job", "signature")

    def __init__(self, job: str, signature: Signature) -> None:
        self.signature = signature
        self.job = job
        # How many arguments are one for each parameter, if all of these can be given by position.
        kinds = [parameter.kind for parameter in signature.parameters.values()]
        self._by_position = len(kinds) if all(kind in _BY_POSITION for kind in kinds) else None

    def bind(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> tuple[tuple[Any, ...], Mapping[str, Any]]:
        """The call as ``inspect`` normalises it: by position what can be, the rest by keyword. ``TypeError`` if it
        misfits.
        """
        if not kwargs and len(args) == self._by_position:  # most calls are so
            return args, kwargs
        simple = self._simply_bound(args, kwargs)
        if simple is not None:
            return simple
        try:
            bound = self.signature.bind(*args, **kwargs)
        except TypeError as error:
            raise TypeError(f"job {self.job}: {error}") from None
        return bound.args, bound.kwargs

    def named(self, args: tuple[Any, ...]) -> Iterator[tuple[str, object]]:
        """The positional arguments of a bound call, with the names of their parameters."""
        parameters = self.signature.parameters
        names = [name for name, parameter in parameters.items() if parameter.kind in _BY_POSITION]
        collects = next((name for name, each in parameters.items() if each.kind is _COLLECTS[0]), "args")
        for index, value in enumerate(args):
            yield names[index] if index < len(names) else f"{collects}[{index - len(names)}]", value

    def _simply_bound(
        self, args: tuple[Any, ...], kwargs: Mapping[str, Any]
    ) -> tuple[tuple[Any, ...], Mapping[str, Any]] | None:
        """What ``inspect`` would find, in a fraction of its time; None for the calls that are not so simple."""
        by_position = list(args)
        by_keyword = {}
        parameters = self.signature.parameters
        for position, (name, parameter) in enumerate(parameters.items()):
            kind = parameter.kind
            if position < len(args):
                if kind not in _BY_POSITION:
                    return None
            elif name in kwargs:
                if kind is Parameter.POSITIONAL_OR_KEYWORD and position == len(by_position):
                    by_position.append(kwargs[name])
                elif kind in _BY_KEYWORD:
                    by_keyword[name] = kwargs[name]
                else:
                    return None
            elif parameter.default is Parameter.empty and kind not in _COLLECTS:
                return None
        every_one = len(args) <= len(parameters)
        if every_one and len(by_position) + len(by_keyword) == len(args) + len(kwargs):
            return tuple(by_position), by_keyword
        else:
            return None

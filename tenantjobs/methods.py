"""A method that is a job: its names in the class, and the job that it is for each subclass."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from inspect import isfunction
from typing import Any
from weakref import WeakKeyDictionary, WeakSet, ref

from tenantjobs.codec.classes import module_name
from tenantjobs.definition import Definition, declared, default_name, learn_by, register, registry
from tenantjobs.errors import ConfigurationError
from tenantjobs.pairs import ALater, ClassLater, Later, Now, Pair
from tenantjobs.parameters import positionals
from tenantjobs.policies import Policy, attach, listed, own

Created = Callable[[type, str], None]


class Method:
    """A method of a class as a job, bound by name, so that a subclass's override is what runs.

    It takes a record, which travels as a reference; or, under ``classmethod`` and ``staticmethod``, none.
    """

    def __init__(self, method: Any, options: dict[str, Any]) -> None:
        self.method = method  # what stays in the class
        function = method.__func__ if isinstance(method, classmethod | staticmethod) else method
        if not isfunction(function):
            raise ConfigurationError(
                f"@later decorates methods that take a record, class methods and static methods, sync or async, not "
                f"{method!r}"
            )
        self.function = function
        self.__attach_to__: Callable[..., Any] = function  # policies stacked above @later join those below it
        self.options = {**options, "policies": listed(options.get("policies", ()), function)}
        self._owner: ref[type] | None = None
        self._own: WeakKeyDictionary[type, Definition] = WeakKeyDictionary()
        if not isinstance(method, staticmethod) and not positionals(function):
            raise ConfigurationError(
                f"@later on {function.__qualname__}: it has no parameter for the record (or for the class), as in "
                f"`def {function.__name__}(self)`"
            )
        attach(function, self.options["policies"])
        _refuse_unfit_creation(self)
        # Registered here rather than when the class is made: a mistake is raised as what it is.
        self.definition = register(self._define(self._name(None), None))

    def __call__(self, *_args: object, **_kwargs: object) -> Any:
        raise ConfigurationError(
            f"@later decorates methods of a class, and {self.function.__qualname__} is in none: for functions there is "
            f"@job"
        )

    @property
    def takes_record(self) -> bool:
        return isfunction(self.method)

    @property
    def __name__(self) -> str:
        # Whoever copies it makes a wrapper, and the class would have the wrapper in place of this.
        raise ConfigurationError(
            f"@later stands under another decorator on {self.function.__qualname__}, which would hide it from the "
            f"class: write @later above, as in `@later() @classmethod`; only policies may stand over it"
        )

    def __set_name__(self, owner: type, name: str) -> None:
        if name == self.function.__name__:
            setattr(owner, name, self.method)
        elif name == f"{self.function.__name__}_later":
            delattr(owner, name)  # the optional line, for type checkers: what it says is planted below
        else:
            raise ConfigurationError(
                f"{owner.__qualname__}.{name} = later({self.function.__name__}): it is called "
                f"{self.function.__name__}_later by convention; name it so"
            )
        if self._owner is None:
            self._owner = ref(owner)
            self._plant(owner)
            _methods.add(self)
            if self.options.get("after_create"):
                _declare_creation(owner, f"{self.function.__name__}_later")
        elif f"{self.function.__name__}_later" not in owner.__dict__:
            self._plant(owner)

    def _plant(self, owner: type) -> None:
        """Put the other names of the method beside it; ConfigurationError if one of them means something else."""
        name = self.function.__name__
        pairs: dict[str, Pair] = {
            f"{name}_later": Later(self) if self.takes_record else ClassLater(self),
            f"a{name}_later": ALater(self),
            f"{name}_now": Now(self),
        }
        for planted, pair in pairs.items():
            there = inspect.getattr_static(owner, planted, None)
            if there is not None and there is not self and not isinstance(there, Pair):
                raise ConfigurationError(
                    f"@later on {owner.__qualname__}.{name} makes {planted}, but {planted} is there already as "
                    f"{there!r:.80}: rename one of them"
                )
            setattr(owner, planted, pair)

    def definition_for(self, cls: type) -> Definition:
        """The job that this method is on ``cls``: one of its own if it is another receiver, or brings policies."""
        owner = self._owner() if self._owner is not None else None
        if cls is owner or owner is None:
            return self.definition
        found = self._own.get(cls)
        if found is None:
            found = self.definition
            if not self.takes_record or self._levels(cls) != self._levels(owner):
                found = register(self._define(self._name(cls), cls))
            self._own[cls] = found
        elif found.name not in registry:
            register(found)
        return found

    def learn(self) -> None:
        """Make the jobs of all subclasses known."""
        owner = self._owner() if self._owner is not None else None
        for cls in () if owner is None else _subclasses(owner):
            pair = inspect.getattr_static(cls, f"{self.function.__name__}_later", None)
            if isinstance(pair, Pair) and pair.method is self:
                self.definition_for(cls)

    def _name(self, cls: type | None) -> str:
        name: str | None = self.options.get("name")
        if cls is None:
            return default_name(self.function) if name is None else name
        place = f"{module_name(cls.__module__)}.{cls.__qualname__}"
        return f"{place}.{self.function.__name__}" if name is None else f"{name}:{place}"

    def _define(self, name: str, cls: type | None) -> Definition:
        method = self.function.__name__
        owner = None if cls is None else ref(cls)

        def receiver() -> type:
            found = (owner or self._owner or _nothing)()
            if found is None:
                raise ConfigurationError(f"job {name}: the class of the method {method} is gone")
            return found

        def on_record(record: object, /, *args: Any, **kwargs: Any) -> Any:
            return getattr(record, method)(*args, **kwargs)

        def on_class(_cls: type, /, *args: Any, **kwargs: Any) -> Any:
            return getattr(_cls, method)(*args, **kwargs)

        def on_none(*args: Any, **kwargs: Any) -> Any:
            return getattr(receiver(), method)(*args, **kwargs)

        is_class_method = isinstance(self.method, classmethod)
        options = {key: value for key, value in self.options.items() if key not in ("name", "policies", "after_create")}
        if cls is not None:
            options.pop("aliases", None)  # they are names of the job as it was, on the class that declares it
        return Definition(
            name=name,
            source=self.function if cls is None else (cls, self.function),
            function=on_record if self.takes_record else on_class if is_class_method else on_none,
            parameters=self.function,
            leading=(lambda: (receiver(),)) if is_class_method else tuple,
            levels=lambda: self._levels(receiver()) if (owner or self._owner) else [own(self.function)],
            **options,
        )

    def _levels(self, cls: type) -> list[tuple[Policy, ...]]:
        """What the class and its bases declare, on the method and on themselves, from the subclass upwards."""
        found = []
        owner = self._owner() if self._owner is not None else None
        for base in cls.__mro__:
            # What was declared stays declared, also while a test has put a mock in the place of the method.
            method = self.function if base is owner else base.__dict__.get(self.function.__name__)
            found.append((*own(getattr(method, "__func__", method)), *declared(base)))
        return [level for level in found if level]


def after_creation(created: Created) -> None:
    """Tell ``created(cls, name)`` of every class whose method ``name`` is to be called for each new record."""
    global _created
    _created = created
    while _creations:
        reference, name = _creations.pop(0)
        if (owner := reference()) is not None:
            created(owner, name)


def _declare_creation(owner: type, name: str) -> None:
    # The data layer may be imported after the models.
    if _created is None:
        _creations.append((ref(owner), name))
    else:
        _created(owner, name)


def _refuse_unfit_creation(method: Method) -> None:
    if not method.options.get("after_create"):
        return
    name = method.function.__qualname__
    if not method.takes_record:
        raise ConfigurationError(f"@later(after_create=True) on {name}: a new record has methods that take a record")
    if method.options.get("enqueue_after_commit") is False:
        raise ConfigurationError(
            f"@later(after_create=True) on {name}: it is enqueued with the commit of the record; leave out "
            f"enqueue_after_commit=False"
        )
    try:
        inspect.signature(method.function).bind(None)
    except TypeError:
        raise ConfigurationError(
            f"@later(after_create=True) on {name}: it is called with the record alone; give the other parameters "
            f"defaults"
        ) from None


def _subclasses(cls: type) -> Iterator[type]:
    subclasses: list[type] = cls.__subclasses__()
    for each in subclasses:
        yield each
        yield from _subclasses(each)


def _learn_all() -> None:
    for method in list(_methods):
        method.learn()


def _nothing() -> None:
    return None


_methods: WeakSet[Method] = WeakSet()
_created: Created | None = None
_creations: list[tuple[ref[type], str]] = []
learn_by(_learn_all)

"""The column that says whose a row is, and the tenant in force as that column holds it."""

from __future__ import annotations

from typing import Any
from weakref import WeakKeyDictionary, WeakSet

from sqlalchemy import BinaryExpression, BindParameter, Column, ColumnElement, FromClause, Table
from sqlalchemy.orm import Mapper
from sqlalchemy.sql import visitors

from tenantjobs.errors import ConfigurationError
from tenantjobs.identity import canonical_id
from tenantjobs.scopes import in_force
from tenantjobs_sqlalchemy import keys
from tenantjobs_sqlalchemy.scoping.refusals import MisfitTenant, tenant_of

_INFO = "tenantjobs_tenant_column"  # on a table; it survives a copy to another MetaData, and a pickle
_VALUE = "tenantjobs_tenant_value"


class TenantValue:
    """The tenant in force, when a statement is executed, as a column holds it."""

    def __init__(self, column: ColumnElement[Any], name: str, stands_for: Table | None = None) -> None:
        self.column = column
        self.name = name
        self.stands_for = stands_for  # the table that the criterion is about, if not that of the column
        self.last: tuple[str, Any] = ("", None)  # no tenant has this id

    def __call__(self) -> Any:
        """``TenantMissing``, or ``ConfigurationError`` for an id that does not fit the column."""
        tenant_id = in_force().reach.tenant_id
        known, value = self.last
        if tenant_id is None or tenant_id != known:
            if tenant_id is None:
                tenant_of(self.name.rpartition(".")[0])
                return None
            try:
                value = keys.value_of(tenant_id, self.column)
            except ValueError as error:
                raise MisfitTenant(f"tenant {tenant_id} cannot be a {self.name}: {error}") from error
            self.last = (tenant_id, value)
        return value

    def default(self, _context: object) -> Any:
        """The same for an insert that gives no value."""
        return self()

    def is_own(self, value: object) -> bool:
        """Whether a row with this value in the column is the tenant's."""
        own = self()
        return bool(value == own) or (value is not None and owner_text(value) == in_force().reach.tenant_id)


def owner_text(tenant_id: object) -> str:
    """The tenant id of a row as the text that ``Current.tenant_id`` is compared with."""
    try:
        return canonical_id(tenant_id)
    except ValueError:
        return repr(tenant_id)  # nobody's


def tenant_attribute(model: type) -> str:
    """The attribute of a scoped model that says whose the record is."""
    name: str = model.__tenant_column__  # type: ignore[attr-defined]  # of TenantScoped
    return name


def tenant_column(table: FromClause) -> Column[Any] | None:
    """The column of a table that says whose a row is; None if its rows belong to nobody."""
    if not isinstance(table, Table):
        return None
    name = table.info.get(_INFO) or _known_by_name.get(table.fullname)  # one that was reflected knows nothing
    return None if name is None else table.c.get(name)


def tenant_value(column: Column[Any]) -> TenantValue:
    """What the column is compared with."""
    table: Any = column.table
    if not isinstance(table, Table):  # of an abstract base
        return TenantValue(column, column.key)
    info = table.info  # not a dictionary of columns: they compare as SQL does
    found: TenantValue | None = info.get(_VALUE)
    if found is None or found.column is not column:
        found = info[_VALUE] = TenantValue(column, f"{column.table.name}.{column.key}")
    return found


def is_of_tenant(source: FromClause, column: Column[Any]) -> ColumnElement[bool]:
    """The criterion for rows of ``source``: the table of ``column``, or an alias of it."""
    found: ColumnElement[Any] = source.c[column.key]
    criterion: ColumnElement[bool] = found == bind(tenant_value(column))
    return criterion


class TenantParameter(BindParameter[Any]):
    """The parameter that is the tenant in force, in each execution anew."""

    inherit_cache = True
    callable: TenantValue

    @property
    def effective_value(self) -> Any:
        # It is asked for each row that a flush changes or deletes: no call where the tenant is that of the row before.
        known, value = self.callable.last
        return value if in_force().reach.tenant_id == known else self.callable()


def bind(value: TenantValue) -> TenantParameter:
    """A parameter with the value, of a name of its own."""
    return TenantParameter("tenant", callable_=value, type_=value.column.type, unique=True)


def part_of(table: FromClause) -> Mapper[Any] | None:
    """The mapper of a table whose rows continue those of another table, which has the tenant."""
    return _parts.get(table) if isinstance(table, Table) else None


def owner_of_part(mapper: Mapper[Any]) -> Column[Any]:
    """The column, in the table of a base class, that says whose the rows of such a mapper are."""
    column = mapper.columns[tenant_attribute(mapper.class_)]
    assert isinstance(column, Column)
    return column


def owner_column(table: FromClause) -> Column[Any]:
    """The column that says whose the rows of a table with tenants' rows are, if need be in the table of its base."""
    column, mapper = tenant_column(table), part_of(table)
    if column is None and mapper is not None:
        column = owner_of_part(mapper)
    assert column is not None
    return column


def links_of_part(mapper: Mapper[Any]) -> list[ColumnElement[bool]]:
    """What joins the rows of such a mapper to those of the table that has the tenant."""
    owner = owner_of_part(mapper).table
    links: list[ColumnElement[bool]] = []
    base: Mapper[Any] | None = mapper
    while base is not None and base.local_table is not owner:
        assert base.inherit_condition is not None
        links.append(base.inherit_condition)
        base = base.inherits
    return links


def steps_of_part(mapper: Mapper[Any]) -> list[tuple[Any, Any]]:
    """The columns of such a mapper's own table, each with the one of its base that it is equal to."""
    assert mapper.inherit_condition is not None
    own = mapper.local_table
    found = []
    for link in visitors.iterate(mapper.inherit_condition):
        if isinstance(link, BinaryExpression):
            here, there = (link.left, link.right) if link.left.table is own else (link.right, link.left)
            found.append((here, there))
    return found


def is_secondary(table: Table) -> bool:
    """Whether the table only tells which records belong together, for a relationship of a scoped model."""
    return table in _secondaries


def mapper_of(table: FromClause) -> Mapper[Any] | None:
    """The mapper whose records are the rows of the table."""
    return _mappers.get(table) if isinstance(table, Table) else None


def learn(mapper: Mapper[Any]) -> None:
    """Know the tables of a scoped model. ``ConfigurationError`` if there is no column of the name that it says."""
    name = tenant_attribute(mapper.class_)
    column = mapper.columns.get(name)
    if not isinstance(column, Column):
        raise ConfigurationError(
            f"{mapper.class_.__name__} is TenantScoped and has no column {name!r}: declare it, as in `{name}: "
            f"Mapped[int] = mapped_column(index=True)`, or name the one that holds the tenant's id with "
            f"`__tenant_column__ = ...`"
        )
    table: Any = column.table
    if not isinstance(table, Table):
        return  # of an abstract base with concrete subclasses: it is read from their tables, each of which is known
    table.info[_INFO] = column.key
    _known_by_name[table.fullname] = column.name
    _names.add(table.name)
    if isinstance(mapper.local_table, Table):
        _mappers.setdefault(mapper.local_table, mapper)
    if mapper.local_table is not table and isinstance(mapper.local_table, Table):
        _parts[mapper.local_table] = mapper
        _names.add(mapper.local_table.name)


def learn_relations(mapper: Mapper[Any]) -> None:
    """Know the tables through which the relationships of a scoped model go."""
    _secondaries.update(found.secondary for found in mapper.relationships if isinstance(found.secondary, Table))


def is_nickname(table: FromClause) -> bool:
    """Whether this is a lightweight ``table("...")``, of which no more than the name of a tenants' table is known."""
    return not isinstance(table, Table) and getattr(table, "name", None) in _names


_names: set[str] = set()
_known_by_name: dict[str, str] = {}

_mappers: WeakKeyDictionary[Table, Mapper[Any]] = WeakKeyDictionary()
_parts: WeakKeyDictionary[Table, Mapper[Any]] = WeakKeyDictionary()
_secondaries: WeakSet[Table] = WeakSet()

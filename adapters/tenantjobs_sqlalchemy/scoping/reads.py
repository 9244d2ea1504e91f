"""ORM queries, updates and deletes see the rows of the tenant; a record is loaded again only for its own tenant."""

from __future__ import annotations

from typing import Any

import sqlalchemy
from sqlalchemy import Select, event
from sqlalchemy.orm import InstanceState, LoaderCriteriaOption, Mapper, ORMExecuteState, Session, with_loader_criteria

from tenantjobs.scopes import in_force
from tenantjobs_sqlalchemy.scoping import columns, identities, ownership, refusals

#: On a statement that loads one known record again: nothing but its key decides what it reads.
TRUSTED = "tenantjobs_trusted"


def listen(scoped: type) -> None:
    """Filter what sessions execute by the criterion of ``scoped``."""
    global _criterion
    # One option for all tenants, so that one compiled statement serves all of them.
    _criterion = with_loader_criteria(scoped, lambda cls: cls.__is_of_tenant__(), include_aliases=True)
    event.listen(Session, "do_orm_execute", _filter)


def is_filtered(statement: Any) -> bool:
    """Whether the statement has the criterion."""
    return _criterion in getattr(statement, "_with_options", ())


def passes(statement: Any) -> bool:
    """Whether the criteria of the ORM reach all of the SELECT that can be reached."""
    return _REACHES_EXISTS and is_filtered(statement)


def _filter(state: ORMExecuteState) -> None:
    identities.guard(state.session)
    identities.will_fill(state.session)
    if in_force().reach.tenant_id is None and refusals.is_unlimited():
        if state.is_relationship_load and is_filtered(state.statement):
            state.statement = _unfiltered(state.statement)
    elif state.is_insert:
        if getattr(state.statement, "_post_values_clause", None) is not None:
            state.update_execution_options(preserve_rowcount=True)  # what an upsert leaves out is missed then
    elif not (state.is_select or state.is_update or state.is_delete):
        return
    elif state.is_column_load:
        _filter_reload(state)
    elif state.is_update and isinstance(state.parameters, list):
        return  # by keys: the criterion would be there, and not be used
    elif not state.is_select and _is_part(state.bind_mapper):
        return  # the criterion would name the table of the base, and not join it
    elif state.is_orm_statement and not is_filtered(state.statement):
        state.statement = state.statement.options(_criterion)


def _is_part(mapper: Mapper[Any] | None) -> bool:
    return mapper is not None and columns.part_of(mapper.local_table) is not None


def _unfiltered(statement: Any) -> Any:
    # A lazy load inherits the criterion of the query that loaded its parent, which may have been a tenant's.
    copy = statement._generate()
    copy._with_options = tuple(option for option in statement._with_options if option is not _criterion)
    return copy


def _filter_reload(state: ORMExecuteState) -> None:
    # SQLAlchemy applies no criteria here.
    options: Any = state.load_options
    refreshed: InstanceState[Any] | None = options._refresh_state
    if refreshed is None or ownership.attribute(refreshed.mapper) is None:
        return
    if ownership.may_reload(refreshed):
        state.update_execution_options(**{TRUSTED: True})
    elif isinstance(state.statement, Select):  # nothing says whose it is, and the reload will not say it either
        state.statement = state.statement.where(refreshed.class_.__is_of_tenant__())


_criterion: LoaderCriteriaOption
# Up to 2.0 the criteria do not reach a SELECT that names its models in WHERE only, as EXISTS does.
_REACHES_EXISTS = not sqlalchemy.__version__.startswith("2.0.")

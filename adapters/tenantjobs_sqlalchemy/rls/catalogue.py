"""What PostgreSQL knows of roles, tables, policies and views."""

from __future__ import annotations

from sqlalchemy import text

# Also of the role that the session began as: RESET ROLE goes back to it. A role that may create others can, up to
# PostgreSQL 15, make itself a member of nearly any.
ROLES = text("""
    SELECT rolname, rolsuper, rolbypassrls, rolname IN (current_user, session_user) AS is_own
    FROM pg_roles
    WHERE (rolsuper OR rolbypassrls OR rolcreaterole AND CAST(current_setting('server_version_num') AS int) < 160000)
      AND (pg_has_role(current_user, oid, 'MEMBER') OR pg_has_role(session_user, oid, 'MEMBER'))
    ORDER BY 4 DESC, 1
""")

FAMILY = text("""
    WITH RECURSIVE family(oid) AS (
        SELECT CAST(to_regclass(:name) AS oid)
        UNION ALL
        SELECT inhrelid FROM pg_inherits JOIN family ON inhparent = family.oid
    )
    SELECT class.oid, CAST(CAST(class.oid AS regclass) AS text) AS name, relrowsecurity, relforcerowsecurity,
           pg_get_userbyid(relowner) AS owner,
           pg_has_role(relowner, 'MEMBER') AS is_owned,
           class.oid = CAST(to_regclass(:name) AS oid) AS is_wanted,
           has_table_privilege(class.oid, 'SELECT, INSERT, UPDATE, DELETE') AS is_within_reach,
           has_table_privilege(class.oid, 'TRUNCATE') AND NOT rolsuper AS may_truncate
    FROM family
    JOIN pg_class AS class ON class.oid = family.oid
    JOIN pg_roles ON rolname = current_user
    ORDER BY 2
""")

POLICIES = text("""
    SELECT polname, polpermissive,
           0 = ANY (polroles) AS is_for_all,
           pg_get_expr(polqual, polrelid) AS seen,
           pg_get_expr(polwithcheck, polrelid) AS written,
           EXISTS (
               SELECT FROM unnest(polroles) AS role
               WHERE CASE role
                   WHEN 0 THEN true
                   ELSE pg_has_role(role, 'USAGE') OR pg_has_role(session_user, role, 'USAGE')
               END
           ) AS applies
    FROM pg_policy
    WHERE polrelid = CAST(:table AS oid)
    ORDER BY 1
""")

# A view reads as its owner, who is held like anybody else unless no policy holds him; a materialized one is a copy.
VIEWS = text("""
    SELECT DISTINCT CAST(CAST(view.oid AS regclass) AS text) AS name, view.relkind = 'm' AS is_copy, rolname AS owner
    FROM pg_depend AS depends
    JOIN pg_rewrite AS rule ON rule.oid = depends.objid
    JOIN pg_class AS view ON view.oid = rule.ev_class
    JOIN pg_roles AS owner ON owner.oid = view.relowner
    WHERE depends.classid = CAST('pg_rewrite' AS regclass)
      AND depends.refclassid = CAST('pg_class' AS regclass)
      AND depends.refobjid = CAST(:table AS oid)
      AND view.relkind IN ('v', 'm')
      AND has_table_privilege(view.oid, 'SELECT')
      AND (
          view.relkind = 'm'
          OR (rolsuper OR rolbypassrls)
          AND NOT EXISTS (SELECT FROM unnest(view.reloptions) AS option WHERE option ~ '^security_invoker=(t|on|1|y)')
      )
    ORDER BY 1
""")

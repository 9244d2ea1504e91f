"""Values and their JSON trees: what ``tenantjobs.arguments`` is made of."""

from __future__ import annotations

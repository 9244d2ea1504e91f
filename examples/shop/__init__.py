"""A small multi-tenant product: accounts keep cards and comments, and hear of each through signed webhooks."""

from __future__ import annotations

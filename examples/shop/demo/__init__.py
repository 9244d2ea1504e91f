"""The shop at work: customers, their servers, workers that are killed, and the proof that all went well."""

from __future__ import annotations

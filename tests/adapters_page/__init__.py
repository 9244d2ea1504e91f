"""``docs/adapters.md``, made from what the conformance kit and the matrix have measured."""

"""Helpers of the tests: small networks, caches, bundles and pipelines with known answers."""

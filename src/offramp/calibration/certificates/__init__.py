"""Certificates: exact tests, the chains they walk, and what a certificate says."""

"""Predictive Exit: from one exit's logits, where to look next; no head runs in between."""

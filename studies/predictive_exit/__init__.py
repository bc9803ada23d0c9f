"""Predictive Exit: routes that skip heads, compared at equal accuracy from cached logits."""

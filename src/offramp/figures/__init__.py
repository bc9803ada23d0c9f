"""Figures, one module per question, drawn from the tables that other stages wrote. Owns plots/figures/."""

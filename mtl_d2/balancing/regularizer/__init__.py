"""Regularizers: what is added to the objective, one per file."""

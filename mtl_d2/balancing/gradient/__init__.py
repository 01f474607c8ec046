"""Gradient methods: row scalings and aggregators, one per file."""

"""Scalarizations, one method per file."""

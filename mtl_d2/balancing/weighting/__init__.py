"""Weightings: how much each task loss counts, one method per file."""

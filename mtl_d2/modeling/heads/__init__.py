"""Heads of dense tasks."""

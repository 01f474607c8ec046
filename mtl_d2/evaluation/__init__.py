"""Evaluators, and what is done with their numbers."""

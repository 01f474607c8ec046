"""Comparisons: methods x seeds, run in processes of their own, and what they come to, as tables and one page."""

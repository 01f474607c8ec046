"""Shapes of what stands in the streets, each in its own frame: X right, Y up, Z ahead, metres."""

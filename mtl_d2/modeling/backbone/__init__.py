"""Trunks that detectron2 does not build from a config."""

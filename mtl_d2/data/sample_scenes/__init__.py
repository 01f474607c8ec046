"""Rendered street scenes whose labels agree with the image to the pixel, in the layouts of published data sets."""

"""What is wrong with a data set: a file for each kind of mistake. ``data.check`` asks them all."""

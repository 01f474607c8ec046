"""Steps: where gradients are taken and in which order parameters move, one per file."""

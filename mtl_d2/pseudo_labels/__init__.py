"""What a teacher says of images, written to a folder and read from it."""

import mtl_d2.data  # noqa: F401  # the two need each other, and can be imported in this order only

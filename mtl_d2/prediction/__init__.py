"""A trained network at work: on images, folders, videos and cameras; see docs/prediction.md."""

"""Multi-task meta-architectures."""

"""The error that the evaluation raises."""


class EvaluationError(RuntimeError):
    """An evaluation lacks numbers; all others, and what else a run leaves, have been written."""

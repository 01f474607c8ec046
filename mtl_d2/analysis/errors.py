"""What a user of the analysis can mend."""


class AnalysisError(ValueError):
    """A model, a run or data that nothing can be said of; the message says why and what to do."""

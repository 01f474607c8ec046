"""What a user of predictions can mend."""


class PredictionError(ValueError):
    """A run, an input or an output that nothing can be predicted with; the message says why and what to do."""

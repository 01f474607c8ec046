"""The one exception for bad data."""


class DataError(ValueError):
    """Data that cannot be trained on as it is. Each line of the message is one mistake, with its mend."""

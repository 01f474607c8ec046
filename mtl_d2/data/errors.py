"""The one exception for bad data."""


class DataError(ValueError):
    """Data that cannot be trained on as it is. Each line of the message is one mistake, with its mend."""

    def __str__(self) -> str:
        """The lines alone: torch puts those of a loader's process behind the whole traceback there."""
        text = super().__str__()
        of_worker = text.startswith(f"Caught {type(self).__name__} in DataLoader worker")
        return text.rpartition(f"{__name__}.{type(self).__name__}: ")[2].strip() if of_worker else text

"""The error of this package."""


class ComparisonError(ValueError):
    """A comparison that cannot be made; the message lists every mistake that was found."""

    def __init__(self, where: str, mistakes: list[str]) -> None:
        """Lists the mistakes.

        Args:
            where: what has the mistakes, in words.
            mistakes: one line for each.
        """
        super().__init__(f"{where} has mistakes:\n" + "\n".join(f"  - {line}" for line in mistakes))

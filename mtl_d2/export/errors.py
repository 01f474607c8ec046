"""What cannot be exported."""


class ExportError(ValueError):
    """A network cannot be exported as asked, or its export is another network; the message says why."""

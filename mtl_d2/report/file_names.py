"""Names of the files that a report is made of."""

CONFIG = "config.yaml"
METRICS = "metrics.json"
RESULTS = "results.json"
PICTURE_FOLDER = "pictures"
PICTURE_INDEX = "index.json"
REPORT = "report.html"

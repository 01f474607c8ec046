"""What of labels can hardly be meant, in plain sentences, and what of them is worth knowing.

What a training refuses or warns of when it starts is not looked for again here; see docs/checks.md.
"""

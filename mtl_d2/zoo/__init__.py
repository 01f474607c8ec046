"""The page of trained models: what finished runs came to, and how to make them again."""

"""`/v1/conversations`: what was said, kept by the log."""

"""Folds job requests and events into the job table."""

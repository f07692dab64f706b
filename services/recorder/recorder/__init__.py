"""Folds job requests and events into the job table."""

__all__ = ["VERSION"]

VERSION = "0.1.0"

"""Promises that need a situation of their own: one stack, one situation, one or two verdicts."""

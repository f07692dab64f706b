"""Runs LLM tasks against providers and emits job events."""

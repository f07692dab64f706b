"""Batches texts through a model, stores and searches vectors."""

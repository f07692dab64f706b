"""`/v1/files`: what callers send for batches, and what batches give back."""

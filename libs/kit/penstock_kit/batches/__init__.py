"""Files and batches as every process sees them: their records, and the view of them in Redis."""

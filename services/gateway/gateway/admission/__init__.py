"""Whether a job may come in now: limits, backlogs, estimated waits, and what the refusal says."""

"""The job table, attempts and events of jobs."""

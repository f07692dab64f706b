"""Joining a job's stream anywhere: replay, snapshot, then live."""

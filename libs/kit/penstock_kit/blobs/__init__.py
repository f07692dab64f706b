"""Claim checks: large inputs and results outside of Kafka."""

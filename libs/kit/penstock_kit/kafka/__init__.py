"""Kafka behind ports: real clients and an in-memory twin."""

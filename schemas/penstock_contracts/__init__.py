"""The contracts of Penstock: what travels on its topics, and nothing else.

Depends on pydantic and orjson only, so that any program may import it without a Kafka client.
"""

"""The contracts of Penstock: what travels on its topics, and nothing else.

Depends on pydantic, orjson and pyyaml only, so that any program may import it without a Kafka client.
"""

"""The embedded stack: Kafka, Redis, a model server and the services as plain processes."""

"""The way in: authenticates, validates, writes one request event, answers."""

"""The way out: relays job events to WebSockets with resume."""

__all__ = ["VERSION"]

VERSION = "0.1.0"

"""The way out: relays job events to WebSockets with resume."""

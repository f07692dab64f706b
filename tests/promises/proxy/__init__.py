"""A TCP proxy that breaks connections on demand; a process of its own."""

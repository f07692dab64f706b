"""The command line, the embedded stack, the client and the event producer."""

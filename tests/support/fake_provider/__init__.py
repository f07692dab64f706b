"""An OpenAI-compatible server that does exactly what its caller scripts; README.md tells how."""

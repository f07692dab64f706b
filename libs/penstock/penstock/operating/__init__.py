"""What operators do: credentials, topics, lag, rebuild."""

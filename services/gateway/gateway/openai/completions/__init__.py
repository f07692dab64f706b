"""`/v1/completions`, the API before chats."""

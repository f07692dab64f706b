"""Who uses the stack: HTTP clients, direct producers, stream followers. All write transcripts."""

"""The consumer engine: order per key, many keys at once, contiguous commits."""

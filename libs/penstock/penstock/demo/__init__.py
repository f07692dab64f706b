"""The demonstration: three things that Penstock does."""

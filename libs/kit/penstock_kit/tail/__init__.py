"""Group-less live readers of whole topics."""

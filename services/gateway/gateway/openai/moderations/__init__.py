"""`/v1/moderations`: what a text contains, by rules or by an upstream."""

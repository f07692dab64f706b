"""Who is calling, and who may speak for a tenant."""

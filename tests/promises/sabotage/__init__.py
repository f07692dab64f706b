"""Promises broken on purpose: each switch must be caught, else the checker is worthless."""

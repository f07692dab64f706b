"""The parts every Penstock service stands on; see docs/architecture.md for the map."""

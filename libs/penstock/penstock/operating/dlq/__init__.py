"""What operators do with dead letters: look, edit, redrive, drop."""

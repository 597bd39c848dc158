"""Which limits a request meets, what it sets aside for itself, what it has really used, and how that is told."""

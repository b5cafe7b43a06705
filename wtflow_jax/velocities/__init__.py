"""What can be learned or known."""

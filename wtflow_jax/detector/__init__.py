"""What is fitted, and how it scores."""

"""The fitted detector, and how it scores images."""

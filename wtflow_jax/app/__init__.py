"""Commands and interfaces for users."""

"""Files written whole, locks, signals, console, environment."""

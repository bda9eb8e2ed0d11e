"""What hardware holds: memory and seconds of a step, how many runs fit, what works here."""

"""The machine: how much memory a step needs and how much there is, how many runs fit, what works here."""

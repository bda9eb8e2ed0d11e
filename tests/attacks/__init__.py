"""Hostile programs, grouped by the promise that they try to break.

Each module holds PROGRAMS: name -> source. A program gets the prelude (see runner.py) and, as `world`, the addresses
of things outside that it should leave alone. `refused(action, ...)` expects the kernel's refusal; anything else is
printed as a breach. A first line `# ends: a | b` names the endings that are right; without it it has to finish.
"""
